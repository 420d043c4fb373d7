"""Point look-ups become one `WHERE id = ANY(...)`, and inserts one multi-row statement; callers see one row each.

Run it: python examples/clients/postgres.py postgresql://me@127.0.0.1/test

It needs `pip install asyncpg`, and a PostgreSQL, in which it makes a table and drops it again. It prints:

    1,000 inserts in 10 statements; a second ada@example.org is told that there is one
    a name with a NUL in it fails alone
    1,000 look-ups in 10 statements: user-0, user-1, ..., and None for an id that there is not
"""

import asyncio
import sys

import asyncpg

from asyncbatch import Batcher, InlineExecutor, Isolated

TABLE = "CREATE TABLE asyncbatch_users (id bigserial PRIMARY KEY, email text UNIQUE NOT NULL, name text NOT NULL)"
# A statement is a transaction: a conflict that raised would undo its whole batch, so it does nothing instead.
INSERT = """
    INSERT INTO asyncbatch_users (email, name) SELECT * FROM unnest($1::text[], $2::text[])
    ON CONFLICT (email) DO NOTHING RETURNING email, id
"""
FIND = "SELECT id, email, name FROM asyncbatch_users WHERE id = ANY($1::bigint[])"


class EmailTaken(ValueError):
    pass


class Users:
    """The two batch functions."""

    def __init__(self, pool):
        self.pool = pool

    async def insert(self, rows):
        """Return the id of each (email, name), or the error of its own. In which order rows come back is not promised."""
        made = dict(await self.pool.fetch(INSERT, *map(list, zip(*rows))))
        return [made.pop(email, None) or EmailTaken(email) for email, _ in rows]  # of two alike, the first has it

    async def find(self, ids):
        """Return the row of each id, or None. The same id may be asked for twice in a batch."""
        found = {row["id"]: row for row in await self.pool.fetch(FIND, ids)}
        return [found.get(id) for id in ids]


async def use(pool):
    users = Users(pool)
    options = {"max_batch_size": 100, "executor": InlineExecutor(4)}  # as many statements at once as there are connections
    # What is wrong with a row undoes the statement it is in, so running its batch again in halves inserts nothing twice.
    insert = Isolated(users.insert, splits=(asyncpg.DataError, asyncpg.IntegrityConstraintViolationError))
    async with Batcher(insert, **options) as insert, Batcher(users.find, **options) as find:
        people = [("ada@example.org", "user-0"), *[(f"{n}@example.org", f"user-{n}") for n in range(1, 999)]]
        *ids, taken = await asyncio.gather(*map(insert, [*people, people[0]]), return_exceptions=True)
        assert isinstance(taken, EmailTaken)
        print(f"1,000 inserts in {insert.statistics().batches} statements; a second {taken} is told that there is one")

        more = await insert.map([("a", "one"), ("b", "\0"), ("c", "two")], return_exceptions=True)
        assert [type(each).__name__ for each in more] == ["int", "CharacterNotInRepertoireError", "int"]
        print("a name with a NUL in it fails alone")

        rows = await asyncio.gather(*map(find, [*ids, -1]))
        assert [row["email"] for row in rows[:-1]] == [email for email, _ in people]
        first, second, *_, last = [row and row["name"] for row in rows]
        statements = find.statistics().batches
        print(f"1,000 look-ups in {statements} statements: {first}, {second}, ..., and {last} for an id that there is not")


async def main(url):
    async with asyncpg.create_pool(url, min_size=4, max_size=4) as pool:
        await pool.execute(TABLE)
        try:
            await use(pool)
        finally:
            await pool.execute("DROP TABLE asyncbatch_users")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
