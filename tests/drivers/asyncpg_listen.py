"""asyncpg: add_listener on more connections than the server has, while others work."""
import asyncio
import sys

import asyncpg

me = int(sys.argv[1])


async def main():
    connections = [await asyncpg.connect(statement_cache_size=20) for _ in range(4)]
    worker = await asyncpg.connect()
    heard = [[] for _ in connections]
    done = [asyncio.Event() for _ in connections]

    def listener(number):
        def note(connection, process, channel, payload):
            assert connection is connections[number] and process != 0
            heard[number].append((channel, payload))
            if payload == "end":
                done[number].set()
        return note

    notes = [listener(number) for number in range(len(connections))]
    for number, connection in enumerate(connections):
        await connection.add_listener(f"jobs_{me}", notes[number])
        await connection.add_listener(f"own_{me}_{number}", notes[number])
    for round in range(20):
        async with worker.transaction():
            await worker.execute("SELECT pg_notify($1, $2)", f"jobs_{me}", str(round))
        assert await connections[round % 4].fetchval("SELECT $1::int", round) == round
    for number in range(len(connections)):
        await worker.execute(f"NOTIFY own_{me}_{number}, 'yours'")
    await worker.execute(f"NOTIFY jobs_{me}, 'end'")
    await asyncio.wait_for(asyncio.gather(*(event.wait() for event in done)), 30)
    for number, got in enumerate(heard):
        jobs = [payload for channel, payload in got if channel == f"jobs_{me}"]
        assert jobs == [*map(str, range(20)), "end"], jobs
        assert [payload for channel, payload in got if channel == f"own_{me}_{number}"] == ["yours"], got

    # Who listens no more hears no more.
    await connections[0].remove_listener(f"jobs_{me}", notes[0])
    await connections[1].reset()
    before = [len(got) for got in heard]
    done[2].clear()
    await worker.execute(f"NOTIFY jobs_{me}, 'end'")
    await asyncio.wait_for(done[2].wait(), 30)
    await asyncio.sleep(0.2)
    assert [len(got) - had for got, had in zip(heard, before)] == [0, 0, 1, 1], heard
    for connection in [*connections, worker]:
        await connection.close()
    print("passed")


asyncio.run(main())
