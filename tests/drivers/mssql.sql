-- What the scripts of SQL Server drivers work on. Batches end with GO.
CREATE TABLE items (
    id int IDENTITY(1,1) PRIMARY KEY,
    owner int NOT NULL,
    name nvarchar(100) NOT NULL,
    price decimal(12,4) NULL,
    made datetime2(3) NULL,
    data varbinary(max) NULL,
    notes nvarchar(max) NULL,
    code uniqueidentifier NULL
);
CREATE TABLE accounts (owner int NOT NULL PRIMARY KEY, balance int NOT NULL);
CREATE TABLE bulk_items (
    owner int NOT NULL, id int NOT NULL, name nvarchar(50) NULL, amount decimal(12,4) NULL, made datetime2(3) NULL,
    code uniqueidentifier NULL, data varbinary(50) NULL
);
GO
CREATE TYPE item_list AS TABLE (id int NOT NULL, name nvarchar(50) NULL);
GO
CREATE PROCEDURE add_item @owner int, @name nvarchar(100), @id int OUTPUT AS
BEGIN
    SET NOCOUNT ON;
    INSERT INTO items (owner, name) VALUES (@owner, @name);
    SET @id = SCOPE_IDENTITY();
    SELECT name FROM items WHERE id = @id;
    RETURN 7;
END
GO
CREATE PROCEDURE add_quietly @owner int, @name nvarchar(100), @id int OUTPUT AS
    INSERT INTO items (owner, name) VALUES (@owner, @name);
    SET @id = SCOPE_IDENTITY();
GO
CREATE PROCEDURE add_list @owner int, @list item_list READONLY AS
    INSERT INTO items (owner, name) SELECT @owner, name FROM @list;
GO
