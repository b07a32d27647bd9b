"""The database refuses to empty the table of acts, too: TRUNCATE fires no row's trigger."""

from django.db import migrations

_REFUSE = """
CREATE TRIGGER act_is_not_emptied BEFORE TRUNCATE ON moderation_act
    FOR EACH STATEMENT EXECUTE FUNCTION moderation_act_is_kept();
"""
_ALLOW = "DROP TRIGGER act_is_not_emptied ON moderation_act;"


class Migration(migrations.Migration):
    dependencies = [("moderation", "0003_ask_anyway")]
    operations = [migrations.RunSQL(_REFUSE, _ALLOW)]
