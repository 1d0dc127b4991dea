#include "store/sqlite.h"

#include <sqlite3.h>

#include "sys/files.h"

namespace exo::store {
namespace {

// No shared memory file, which a full disk would refuse: the lock says that nobody else is here.
constexpr const char* kPragmas = R"sql(
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
)sql";

bool IsDamage(int code) {
  return code == SQLITE_NOTADB || code == SQLITE_CORRUPT;
}

}  // namespace

Result<std::unique_ptr<Database>> Database::Open(const DatabaseOptions& options) {
  // An empty file is an empty database. SQLite gives its other files the same mode.
  if (!options.path.empty() && !sys::NameExists(options.path)) {
    if (auto made = sys::WriteFileAtomically(options.path, "", options.mode); !made)
      return Fail(ErrorCode::kIo, "cannot make {}: {}", options.what, made.error().message);
  }
  sqlite3* handle = nullptr;
  const int rc = sqlite3_open_v2(options.path.c_str(), &handle,
                                 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  std::unique_ptr<Database> db(new Database(handle, options.what));
  if (rc != SQLITE_OK) {
    return Fail(ErrorCode::kIo, "cannot open {} {}: {}", options.what, options.path,
                sqlite3_errstr(rc));
  }
  sqlite3_busy_timeout(handle, 2000);
  if (sqlite3_exec(handle, kPragmas, nullptr, nullptr, nullptr) != SQLITE_OK) {
    if (!IsDamage(sqlite3_errcode(handle))) {
      return Fail(ErrorCode::kIo, "cannot use {} {}: {}", options.what, options.path,
                  sqlite3_errmsg(handle));
    }
    return Fail(ErrorCode::kCorrupt, "{} {} is damaged ({}); move it away to start anew",
                options.what, options.path, sqlite3_errmsg(handle));
  }
  TRY(db->Migrate(options));
  return db;
}

Result<void> Database::Migrate(const DatabaseOptions& options) {
  size_t version = 0;
  {
    Statement row(*this, "PRAGMA user_version");
    if (TRY(row.Next())) version = static_cast<size_t>(row.Int(0));
  }
  if (version > options.migrations.size()) {
    return Fail(ErrorCode::kUnsupported,
                "{} {} was written by a newer exo (schema {}, this one knows {}); update exo, or "
                "give it a data folder of its own with EXO_HOME",
                options.what, options.path, version, options.migrations.size());
  }
  for (; version < options.migrations.size(); ++version) {
    const std::string sql = fmt::format("BEGIN; {} PRAGMA user_version = {}; COMMIT;",
                                        options.migrations[version], version + 1);
    if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK) continue;
    const ErrorCode code = IsDamage(sqlite3_errcode(db_)) ? ErrorCode::kCorrupt : ErrorCode::kIo;
    return Fail(code, "cannot bring {} {} to schema {}: {}", options.what, options.path,
                version + 1, sqlite3_errmsg(db_));
  }
  return {};
}

Database::~Database() {
  sqlite3_close(db_);
}

Result<void> Database::Execute(const char* sql) {
  if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return {};
  return Failure("refused a change");
}

std::unexpected<Error> Database::Failure(std::string_view doing) const {
  const int rc = sqlite3_errcode(db_);
  return Fail(IsDamage(rc) ? ErrorCode::kCorrupt : ErrorCode::kIo, "{} {}: {}{}", what_, doing,
              sqlite3_errmsg(db_), rc == SQLITE_FULL ? "; make room on the disk" : "");
}

Statement::Statement(Database& db, const char* sql) : db_(db) {
  sqlite3_prepare_v2(db.handle(), sql, -1, &statement_, nullptr);
}

Statement::~Statement() {
  sqlite3_finalize(statement_);
}

Statement& Statement::Bind(int index, std::string_view text) {
  sqlite3_bind_text(statement_, index, text.data(), static_cast<int>(text.size()),
                    SQLITE_TRANSIENT);
  return *this;
}

Statement& Statement::Bind(int index, int64_t value) {
  sqlite3_bind_int64(statement_, index, value);
  return *this;
}

Statement& Statement::Bind(int index, std::span<const std::byte> bytes) {
  sqlite3_bind_blob64(statement_, index, bytes.data(), bytes.size(), SQLITE_TRANSIENT);
  return *this;
}

Result<bool> Statement::Next() {
  const int rc = sqlite3_step(statement_);
  if (rc == SQLITE_ROW) return true;
  if (rc == SQLITE_DONE) return false;
  return db_.Failure("cannot be read");
}

Result<void> Statement::Run() {
  const int rc = sqlite3_step(statement_);
  if (rc == SQLITE_DONE || rc == SQLITE_ROW) return {};
  return db_.Failure("refused a change");
}

void Statement::Reset() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

std::string Statement::Text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  if (text == nullptr) return "";
  return {text, static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

int64_t Statement::Int(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::vector<std::byte> Statement::Blob(int column) const {
  const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(statement_, column));
  return {data, data + sqlite3_column_bytes(statement_, column)};
}

Transaction::Transaction(Database& db) : db_(db) {
  sqlite3_mutex_enter(sqlite3_db_mutex(db_.handle()));
  begun_ = db_.Execute("BEGIN").has_value();
}

Transaction::~Transaction() {
  if (begun_ && !committed_) (void)db_.Execute("ROLLBACK");
  sqlite3_mutex_leave(sqlite3_db_mutex(db_.handle()));
}

Result<void> Transaction::Commit() {
  if (!begun_) return db_.Failure("refused a change");
  TRY(db_.Execute("COMMIT"));
  committed_ = true;
  return {};
}

}  // namespace exo::store
