# ActiveRecord: its start-up settings, migrations under an advisory lock, prepared statements, transactions, row locks, reset!.
require "active_record"

me = Integer(ARGV[0])
schema = "activerecord_#{me}"

connect = lambda do
  ActiveRecord::Base.establish_connection(
    adapter: "postgresql", host: ENV["PGHOST"], port: ENV["PGPORT"], database: ENV["PGDATABASE"],
    username: ENV["PGUSER"], password: ENV["PGPASSWORD"], pool: 3,
    schema_search_path: schema, min_messages: "warning", variables: { statement_timeout: "23s", lock_timeout: "11s" }
  )
  ActiveRecord::Base.connection
end

connection = connect.call
connection.execute("CREATE SCHEMA #{schema}")

class CreateAll < ActiveRecord::Migration[6.1]
  def change
    create_table(:authors) { |table| table.string :name, null: false, index: { unique: true } }
    create_table(:books) do |table|
      table.references :author, foreign_key: true
      table.string :title
      table.datetime :printed_at
    end
  end
end

class AddPrice < ActiveRecord::Migration[6.1]
  disable_ddl_transaction!
  def change
    add_column :books, :price, :decimal
    add_index :books, :title, algorithm: :concurrently
  end
end

class Author < ActiveRecord::Base
  has_many :books
end

class Book < ActiveRecord::Base
  belongs_to :author
end

def check(what, expected, actual)
  raise "#{what}: #{actual.inspect} instead of #{expected.inspect}" unless expected == actual
end

# The lock is the database's, whatever the schema: whoever finds it taken comes again.
def migrate(*arguments)
  ActiveRecord::Migrator.new(*arguments).migrate
rescue ActiveRecord::ConcurrentMigrationError
  sleep 0.05
  retry
end

# Each migration is its own version; the migrator takes pg_try_advisory_lock around them, and gives it back.
migrations = [[CreateAll, 1], [AddPrice, 2]].map { |migration, version| migration.new(migration.name, version) }
schema_migration = ActiveRecord::Base.connection.schema_migration
ActiveRecord::Migration.verbose = false
migrate :up, migrations, schema_migration
check "versions", %w[1 2], schema_migration.all_versions
check "no lock is left", 0, connection.select_value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")

10.times do
  check "statement_timeout", "23s", connection.select_value("SHOW statement_timeout")
  check "search_path", schema, connection.select_value("SHOW search_path")
  check "TimeZone", "UTC", connection.select_value("SHOW TimeZone")
  check "client_min_messages", "warning", connection.select_value("SHOW client_min_messages")
end

# prepared statements a1, a2, ... of the connection, in many transactions
authors = (0...30).map { |number| Author.create!(name: "author #{number}") }
authors.each { |author| 3.times { |volume| author.books.create!(title: "#{author.name} #{volume}", price: volume, printed_at: Time.now) } }
authors.each { |author| check "books", 3, Author.find(author.id).books.count }
check "by name", authors[7].id, Author.find_by(name: "author 7").id

# transactions, savepoints, errors in them, row locks
Author.transaction do
  Author.create!(name: "kept")
  begin
    Author.transaction(requires_new: true) { Author.create!(name: "kept") }
  rescue ActiveRecord::RecordNotUnique
    # rolled back to the savepoint
  end
  authors[0].with_lock { authors[0].update!(name: "locked") }
  Author.transaction(requires_new: true) do
    Author.create!(name: "not kept")
    raise ActiveRecord::Rollback
  end
end
check "authors", 31, Author.count
check "renamed", "locked", Author.find(authors[0].id).name
check "batches", 90, Book.find_each(batch_size: 7).count
Author.transaction(isolation: :serializable) { check "isolation", "serializable", connection.select_value("SHOW transaction_isolation") }
check "isolation", "read committed", connection.select_value("SHOW transaction_isolation")

# an advisory lock of the session, over several transactions
check "lock", true, connection.get_advisory_lock(4711 + me)
Author.transaction { Author.create!(name: "under lock") }
check "locks", 1, connection.select_value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = #{4711 + me}")
check "unlock", true, connection.release_advisory_lock(4711 + me)

# threads, each with a connection of its own
threads = (0...3).map do |thread|
  Thread.new do
    ActiveRecord::Base.connection_pool.with_connection do
      20.times { |round| Book.create!(author: authors[thread], title: "thread #{thread} #{round}") }
    end
  end
end
threads.each(&:join)
check "from threads", 60, Book.where("title LIKE 'thread %'").count

# what ActiveRecord does when it takes a connection over: ROLLBACK, DISCARD ALL, its settings again
connection.reset!
check "search_path", schema, connection.select_value("SHOW search_path")
check "statement_timeout", "23s", connection.select_value("SHOW statement_timeout")
check "authors", 32, Author.count

migrate :down, migrations, schema_migration, 1
check "versions", %w[1], schema_migration.all_versions
connection.execute("DROP SCHEMA #{schema} CASCADE")
puts "passed"
