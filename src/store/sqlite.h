// What the node's SQLite files share: opening (WAL, full sync, locked for this process) and
// migrating, statements, and transactions. Errors name the file by what it is for people.
//
// Thread: any; SQLite serializes the calls of one database, and a write waits for the disk.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace exo::store {

struct DatabaseOptions {
  std::string path;  // empty: a database that is gone when it is closed
  std::string what;  // "the state file", in errors
  // Entry N brings a file of schema version N to N + 1. Version 0 is an empty file. Entries are
  // never changed, only added.
  std::span<const char* const> migrations;
  unsigned mode = 0600;  // of a file that is made
};

class Database {
 public:
  // Opens or creates the file and migrates it. Errors: kIo, kCorrupt (it is damaged; says to move
  // it away), kUnsupported (written by a newer exo).
  static Result<std::unique_ptr<Database>> Open(const DatabaseOptions& options);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Statements without parameters or rows. Errors: as Statement::Run.
  Result<void> Execute(const char* sql);
  // Of the last call that failed. Codes: kCorrupt (damaged), else kIo (a full disk among them).
  std::unexpected<Error> Failure(std::string_view doing) const;
  sqlite3* handle() const { return db_; }

 private:
  Database(sqlite3* db, std::string what) : db_(db), what_(std::move(what)) {}
  Result<void> Migrate(const DatabaseOptions& options);
  sqlite3* db_;
  std::string what_;
};

// One prepared statement, finalized at the end of the scope. Parameters are numbered from 1,
// columns from 0. The database outlives it.
class Statement {
 public:
  Statement(Database& db, const char* sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& Bind(int index, std::string_view text);
  Statement& Bind(int index, int64_t value);
  Statement& Bind(int index, std::span<const std::byte> bytes);
  // True: there is a row more. Errors: kIo, kCorrupt.
  Result<bool> Next();
  Result<void> Run();
  // For another run of the same statement: rows and parameters are gone.
  void Reset();
  std::string Text(int column) const;
  int64_t Int(int column) const;
  std::vector<std::byte> Blob(int column) const;

 private:
  Database& db_;
  sqlite3_stmt* statement_ = nullptr;
};

// Several changes that are made together or not at all: undone unless they were committed. Other
// threads wait meanwhile: what they wrote would be undone with it.
class Transaction {
 public:
  explicit Transaction(Database& db);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  Result<void> Commit();

 private:
  Database& db_;
  bool begun_ = false;
  bool committed_ = false;
};

}  // namespace exo::store
