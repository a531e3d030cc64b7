"""psycopg: conn.notifies() on more connections than the server has."""
import sys

import psycopg

me = int(sys.argv[1])
channel = f"jobs_{me}"

listeners = [psycopg.connect(autocommit=True) for _ in range(4)]
for listener in listeners:
    listener.execute(f"LISTEN {channel}")
with psycopg.connect() as notifier:
    for number in range(20):
        notifier.execute("SELECT pg_notify(%s, %s)", (channel, str(number)))
        notifier.commit()
        # A rolled back one is none.
        notifier.execute("SELECT pg_notify(%s, 'no')", (channel,))
        notifier.rollback()
    notifier.execute("SELECT pg_notify(%s, 'end')", (channel,))
for listener in listeners:
    heard = []
    for notify in listener.notifies(timeout=30):
        assert notify.channel == channel
        heard.append(notify.payload)
        if notify.payload == "end":
            break
    assert heard == [*map(str, range(20)), "end"], heard

# In a transaction they wait, and while the connection works they are collected.
one = listeners[0]
one.autocommit = False
one.execute("SELECT 1")
listeners[1].execute(f"NOTIFY {channel}, 'late'")
assert list(one.notifies(timeout=0.3)) == []
one.commit()
assert [notify.payload for notify in one.notifies(timeout=30, stop_after=1)] == ["late"]
one.execute("UNLISTEN *")
one.commit()
listeners[1].execute(f"NOTIFY {channel}, 'gone'")
assert list(one.notifies(timeout=0.3)) == []
assert [notify.payload for notify in listeners[2].notifies(timeout=30, stop_after=2)] == ["late", "gone"]
for listener in listeners:
    listener.close()
print("passed")
