from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('probes', '0003_indexes_by_provider'),
    ]

    operations = [
        migrations.CreateModel(
            name='ExchangeRate',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('source', models.CharField(help_text='host that was asked', max_length=253)),
                ('quoted_at', models.DateTimeField(help_text='of which moment it says so')),
                ('micro', models.BigIntegerField(help_text='millionths of a US dollar')),
                ('at', models.DateTimeField(auto_now_add=True, help_text='when it was asked')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('source', 'quoted_at'), name='rate_once')],
            },
        ),
    ]
