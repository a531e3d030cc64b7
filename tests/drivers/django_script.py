"""Django: migrations, the ORM, atomic blocks with savepoints, row locks, server-side cursors in and outside of transactions."""
import os
import sys

import django
from django.conf import settings

me = int(sys.argv[1])
schema = f"django_{me}"

settings.configure(
    SECRET_KEY="for tests",
    USE_TZ=True,
    TIME_ZONE="Europe/Berlin",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.environ["PGHOST"],
            "PORT": os.environ["PGPORT"],
            "NAME": os.environ["PGDATABASE"],
            "USER": os.environ["PGUSER"],
            "PASSWORD": os.environ["PGPASSWORD"],
            # What a pooler usually asks Django to turn off: server-side cursors, persistent connections, binding on the server.
            "CONN_MAX_AGE": None,
            "DISABLE_SERVER_SIDE_CURSORS": False,
            "OPTIONS": {"options": f"-c search_path={schema}", "server_side_binding": me % 2 == 0},
        }
    },
)
django.setup()

from django.contrib.auth.models import Group, User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import IntegrityError, connection, transaction  # noqa: E402


def value(sql, parameters=()):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone()[0]


with connection.cursor() as cursor:
    cursor.execute(f"CREATE SCHEMA {schema}")
call_command("migrate", verbosity=0)
call_command("migrate", "--check", verbosity=0)
assert value("SHOW search_path") == schema
assert value("SHOW TimeZone") == "UTC", value("SHOW TimeZone")  # Django's own way when USE_TZ is set

# objects, relations, bulk
group = Group.objects.create(name=f"group {me}")
users = User.objects.bulk_create([User(username=f"user {me} {number}") for number in range(300)])
group.user_set.add(*users)
assert User.objects.filter(groups=group).count() == 300
assert User.objects.filter(groups=group).order_by("id").first().username == f"user {me} 0"
assert User.objects.filter(username__endswith="7").update(first_name="Sieben") == 30
user, created = User.objects.get_or_create(username=f"user {me} 7")
assert not created and user.first_name == "Sieben"

# atomic blocks: a savepoint is rolled back, what surrounds it is kept
with transaction.atomic():
    Group.objects.create(name="kept")
    try:
        with transaction.atomic():
            Group.objects.create(name="kept")
    except IntegrityError:
        pass
    assert User.objects.select_for_update().get(pk=users[0].pk).pk == users[0].pk
    transaction.on_commit(lambda: Group.objects.create(name="after commit"))
assert set(Group.objects.values_list("name", flat=True)) == {f"group {me}", "kept", "after commit"}
try:
    with transaction.atomic():
        Group.objects.all().delete()
        raise KeyError("no")
except KeyError:
    pass
assert Group.objects.count() == 3

# a server-side cursor WITH HOLD (outside of a transaction) with other queries in between, and one without
seen = []
for user in User.objects.order_by("id").iterator(chunk_size=20):
    seen.append(user.username)
    if len(seen) % 50 == 0:
        assert Group.objects.count() == 3
assert seen == [f"user {me} {number}" for number in range(300)], len(seen)
with transaction.atomic():
    rows = User.objects.order_by("id").iterator(chunk_size=100)
    assert next(rows).username == f"user {me} 0"
    assert sum(1 for _ in rows) == 299

# settings of the session, as many applications set them in connection_created
with connection.cursor() as cursor:
    cursor.execute("SET statement_timeout = '17s'")
    cursor.execute("SELECT set_config('app.tenant', %s, false)", [f"tenant {me}"])
for _ in range(20):
    assert value("SHOW statement_timeout") == "17s"
    assert value("SELECT current_setting('app.tenant')") == f"tenant {me}"
    assert User.objects.get(username=f"user {me} 299").pk == users[299].pk

call_command("migrate", "auth", "zero", verbosity=0)
connection.close()
with connection.cursor() as cursor:
    cursor.execute(f"DROP SCHEMA {schema} CASCADE")
print("passed")
