from django.db import migrations, models


class Migration(migrations.Migration):
    """Only what the columns may say: nothing changes in the database."""

    dependencies = [
        ('moderation', '0005_words_of_providers'),
    ]

    operations = [
        migrations.AlterField(
            model_name='effect',
            name='kind',
            field=models.CharField(choices=[('hidden', 'Hidden'), ('flagged', 'Flagged'), ('label', 'Label'), ('approved', 'Looked at'), ('blocked', 'Blocked from reporting'), ('ended', 'Link ended'), ('proposed', 'Waits for a second person')], max_length=10),
        ),
        migrations.AlterField(
            model_name='report',
            name='category',
            field=models.CharField(choices=[('wrong_answers', 'Answers are wrong, cut or somebody else’s'), ('not_the_model', 'It is not the model it claims'), ('privacy', 'It leaks or keeps what I sent'), ('money', 'It charges more than it says'), ('harm', 'Malware, phishing or other harm'), ('name', 'It pretends to be somebody else'), ('other', 'Something else'), ('secrets', 'It shows a person’s secrets or private data'), ('abuse', 'Threats, hatred or harassment'), ('illegal', 'It is against the law'), ('appeal', 'Appeal: the decision about what is mine is wrong')], max_length=20),
        ),
        migrations.AlterField(
            model_name='report',
            name='outcome',
            field=models.CharField(blank=True, choices=[('upheld', 'Acted on'), ('declined', 'Looked at, nothing to do'), ('spam', 'Not a report'), ('gone', 'The link had ended before')], default='', max_length=10),
        ),
    ]
