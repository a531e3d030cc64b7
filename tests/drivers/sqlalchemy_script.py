"""SQLAlchemy over psycopg and asyncpg, and Alembic: pools of its own, isolation levels, savepoints, streaming, migrations."""
import asyncio
import os
import sys
import tempfile
import textwrap

import alembic.command
import alembic.config
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

me = int(sys.argv[1])
schema = f"sqlalchemy_{me}"


def url(driver):
    return sa.URL.create(
        f"postgresql+{driver}",
        os.environ["PGUSER"],
        os.environ["PGPASSWORD"],
        os.environ["PGHOST"],
        int(os.environ["PGPORT"]),
        os.environ["PGDATABASE"],
    )


class Base(orm.DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str]
    books: orm.Mapped[list["Book"]] = orm.relationship(back_populates="author", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "book"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    title: orm.Mapped[str]
    author_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("author.id"))
    author: orm.Mapped[Author] = orm.relationship(back_populates="books")


engine = sa.create_engine(
    url("psycopg"), pool_size=3, pool_pre_ping=True, connect_args={"options": f"-c search_path={schema}", "prepare_threshold": 1}
)


def migrate():
    """Alembic: two revisions up, one down and up again."""
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f"{folder}/versions")
        with open(f"{folder}/env.py", "w") as file:
            file.write(
                textwrap.dedent(
                    """
                    from alembic import context
                    with context.config.attributes["engine"].connect() as connection:
                        context.configure(connection=connection)
                        with context.begin_transaction():
                            context.run_migrations()
                    """
                )
            )
        for number, up, down in [
            (1, "op.create_table('author', sa.Column('id', sa.Integer, primary_key=True), sa.Column('name', sa.Text))", "op.drop_table('author')"),
            (
                2,
                "op.create_table('book', sa.Column('id', sa.Integer, primary_key=True), sa.Column('title', sa.Text), "
                "sa.Column('author_id', sa.Integer, sa.ForeignKey('author.id')))",
                "op.drop_table('book')",
            ),
        ]:
            with open(f"{folder}/versions/{number}.py", "w") as file:
                previous = repr(f"r{number - 1}") if number > 1 else None
                file.write(
                    f"revision = 'r{number}'\ndown_revision = {previous}\nimport sqlalchemy as sa\nfrom alembic import op\n"
                    f"def upgrade():\n    {up}\ndef downgrade():\n    {down}\n"
                )
        config = alembic.config.Config()
        config.set_main_option("script_location", folder)
        config.attributes["engine"] = engine
        alembic.command.upgrade(config, "head")
        alembic.command.downgrade(config, "r1")
        alembic.command.upgrade(config, "head")


def with_psycopg():
    with orm.Session(engine) as session:
        session.add_all(
            Author(name=f"author {number}", books=[Book(title=f"book {number}.{volume}") for volume in range(3)]) for number in range(40)
        )
        session.commit()
        authors = session.scalars(sa.select(Author).options(orm.selectinload(Author.books)).order_by(Author.id)).all()
        assert [len(author.books) for author in authors] == [3] * 40
        with session.begin_nested() as savepoint:
            session.delete(authors[0])
            session.flush()
            savepoint.rollback()
        assert session.scalar(sa.select(sa.func.count()).select_from(Book)) == 120
        session.rollback()

    # a server-side cursor in a transaction
    with engine.connect().execution_options(yield_per=25) as connection:
        rows = connection.execute(sa.select(Book.title).order_by(Book.id))
        assert [len(part) for part in rows.partitions()] == [25, 25, 25, 25, 20]

    # isolation levels belong to their own checkout only
    for _ in range(5):
        with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection, connection.begin():
            assert connection.scalar(sa.text("SHOW transaction_isolation")) == "serializable"
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("SET work_mem = '7777kB'"))
            assert connection.scalar(sa.text("SHOW work_mem")) == "7777kB"
            connection.execute(sa.text("RESET work_mem"))
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SHOW transaction_isolation")) == "read committed"
            assert connection.scalar(sa.text("SHOW search_path")) == schema


async def with_asyncpg():
    engine = create_async_engine(url("asyncpg"), pool_size=3, connect_args={"server_settings": {"search_path": schema, "jit": "off"}})

    async def one(number):
        async with AsyncSession(engine) as session:
            found = await session.scalar(sa.select(Author).where(Author.name == f"author {number}"))
            found.name = f"renamed {number}"
            await session.commit()
            assert await session.scalar(sa.text("SHOW jit")) == "off"

    await asyncio.gather(*(one(number) for number in range(40)))
    async with engine.connect() as connection:
        result = await connection.stream(sa.select(Author.name).order_by(Author.id))
        assert [name async for (name,) in result] == [f"renamed {number}" for number in range(40)]
    await engine.dispose()


with engine.begin() as connection:
    connection.execute(sa.text(f"CREATE SCHEMA {schema}"))
migrate()
with_psycopg()
asyncio.run(with_asyncpg())
# sequences move on with DDL in the same session
with engine.begin() as connection:
    connection.execute(sa.text(f"DROP SCHEMA {schema} CASCADE"))
engine.dispose()
print("passed")
