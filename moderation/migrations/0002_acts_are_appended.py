"""The database itself refuses to change or delete an act."""

from django.db import migrations

_REFUSE = """
CREATE FUNCTION moderation_act_is_kept() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    RAISE EXCEPTION 'acts of staff are appended: % is refused', TG_OP
        USING ERRCODE = 'integrity_constraint_violation';
END
$body$;
CREATE TRIGGER act_is_kept BEFORE UPDATE OR DELETE ON moderation_act
    FOR EACH ROW EXECUTE FUNCTION moderation_act_is_kept();
"""
_ALLOW = """
DROP TRIGGER act_is_kept ON moderation_act;
DROP FUNCTION moderation_act_is_kept();
"""


class Migration(migrations.Migration):
    dependencies = [("moderation", "0001_acts_and_queue")]
    operations = [migrations.RunSQL(_REFUSE, _ALLOW)]
