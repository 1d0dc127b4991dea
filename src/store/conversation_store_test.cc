#include "store/conversation_store.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "store/test_folder.h"

namespace exo::store {
namespace {

constexpr uint64_t kHour = 3'600'000;
constexpr uint64_t kNow = uint64_t{1'800'000'000} * 1000;

template <class Id>
Id IdOf(uint64_t number) {
  Id id;
  for (size_t i = 0; i < 8; ++i) id.bytes[15 - i] = static_cast<uint8_t>(number >> (8 * i));
  return id;
}
wire::RowKey Key(uint64_t conversation, uint64_t message = 0, uint64_t owner = 0) {
  return {.owner = owner,
          .conversation = IdOf<ConversationId>(conversation),
          .message = IdOf<MessageId>(message)};
}
NodeId Device(uint8_t number) {
  NodeId id;
  id.bytes[0] = number;
  return id;
}

// One device: a file in memory and a clock.
struct Kept {
  explicit Kept(uint8_t device = 1, const std::string& path = "") {
    file = ConversationFile::Open(
               {.path = path, .self = Device(device), .now_ms = [this] { return now; }})
               .value();
  }
  Result<WrittenRow> Put(const wire::RowKey& key, const std::string& text,
                         const std::string& data = "{}") {
    return file->Change(key,
                        [&](const RowContent*) { return std::optional(RowContent{text, data}); });
  }
  Result<WrittenRow> Delete(const wire::RowKey& key) {
    return file->Change(key, [](const RowContent*) { return std::optional<RowContent>(); });
  }
  std::vector<std::string> Titles(const ConversationQuery& query = {}) const {
    std::vector<std::string> titles;
    for (const ConversationSummary& one : file->List(query).value().data)
      titles.push_back(one.content.text);
    return titles;
  }
  std::vector<std::string> Messages(uint64_t conversation, uint64_t owner = 0) const {
    std::vector<std::string> texts;
    const auto page = file->Read(owner, Key(conversation).conversation, std::nullopt, 1 << 20);
    if (!page) return {"none"};
    for (const StoredMessage& one : page->messages) texts.push_back(one.content.text);
    return texts;
  }
  // Everything that `from` has and this one has not.
  size_t PullFrom(Kept& from) const {
    const auto part = from.file->VersionsAfter(0, 0).value();
    const auto sifted = file->Sift(part.versions).value();
    const auto rows = from.file->RowsOf(part.epoch, sifted.wanted, SIZE_MAX).value();
    return file->Take(rows.rows).value();
  }

  uint64_t now = kNow;
  std::unique_ptr<ConversationFile> file;
};
using Texts = std::vector<std::string>;

TEST(ConversationFileTest, KeepsWhatWasWrittenAndOwnersApart) {
  Kept kept;
  ASSERT_TRUE(kept.Put(Key(1), "first", R"({"model":"tiny"})"));
  ++kept.now;
  ASSERT_TRUE(kept.Put(Key(2), "second"));
  ++kept.now;
  ASSERT_TRUE(kept.Put(Key(1, 7), "Hello"));
  ASSERT_TRUE(kept.Put(Key(1, 0, 9), "a key's"));        // the same id, and nobody's business
  EXPECT_EQ(kept.Titles(), (Texts{"first", "second"}));  // by the last message
  EXPECT_EQ(kept.Titles({.owner = 9}), Texts{"a key's"});
  EXPECT_EQ(kept.file->List({}).value().data[0].snippet, "Hello");
  EXPECT_EQ(kept.Messages(1), Texts{"Hello"});
  EXPECT_EQ(kept.Messages(1, 9), Texts{});
  EXPECT_EQ(kept.Messages(1, 8), Texts{"none"});
  EXPECT_EQ(kept.Put(Key(5, 1), "of no conversation").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(kept.Put(Key(1, 7, 8), "of another's").error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(kept.Delete(Key(1, 7)));
  EXPECT_EQ(kept.Delete(Key(1, 7)).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(kept.Messages(1), Texts{});
  ASSERT_TRUE(kept.Delete(Key(1)));
  EXPECT_EQ(kept.Titles(), Texts{"second"});
  EXPECT_EQ(kept.Put(Key(1, 7), "too late").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(kept.Titles({.owner = 9}), Texts{"a key's"});
}

TEST(ConversationFileTest, WhatDoesNotChangeIsNotWritten) {
  Kept kept;
  const uint64_t written = kept.Put(Key(1), "one").value().updated_ms;
  const uint64_t last = kept.file->News().value().last;
  kept.now += kHour;
  EXPECT_EQ(kept.Put(Key(1), "one").value().updated_ms, written);
  EXPECT_EQ(kept.file->News().value().last, last);
  EXPECT_EQ(kept.file->TakeChanges(),
            (std::vector<ConversationChange>{{0, Key(1).conversation, false}}));
  ASSERT_TRUE(kept.Delete(Key(1)));
  EXPECT_EQ(kept.file->TakeChanges(),
            (std::vector<ConversationChange>{{0, Key(1).conversation, true}}));
}

TEST(ConversationFileTest, LimitsAreNamed) {
  Kept kept;
  const auto long_title = kept.Put(Key(1), std::string(kMaxTitle + 1, 't'));
  EXPECT_EQ(long_title.error().message, "a title takes 500 bytes at most, not 501");
  ASSERT_TRUE(kept.Put(Key(1), std::string(kMaxTitle, 't')));
  EXPECT_TRUE(kept.Put(Key(1, 1), std::string(wire::kMaxRowBytes - 2, 'm')));
  EXPECT_EQ(kept.Put(Key(1, 2), std::string(wire::kMaxRowBytes, 'm')).error().code,
            ErrorCode::kInvalid);
  EXPECT_EQ(kept.Put(Key(1), "t", std::string(kMaxSettings + 1, 's')).error().code,
            ErrorCode::kInvalid);
}

TEST(ConversationFileTest, PagesFollowEachOther) {
  Kept kept;
  for (uint64_t i = 1; i <= 25; ++i) {
    ASSERT_TRUE(kept.Put(Key(i), fmt::format("chat {}", i)));
    if (i % 3 == 0) ++kept.now;  // several at one time
  }
  for (const std::string search : {"", "chat"}) {
    Texts all;
    ConversationQuery query{.search = search, .limit = 7};
    for (int pages = 0;; ++pages) {
      ASSERT_LT(pages, 5);
      const auto page = kept.file->List(query).value();
      for (const ConversationSummary& one : page.data) all.push_back(one.content.text);
      if (page.next.empty()) break;
      query.before = page.next;
    }
    EXPECT_EQ(all.size(), 25u) << search;
    EXPECT_EQ(all.front(), "chat 25");
    EXPECT_EQ(all.back(), "chat 1");
  }
  for (const std::string bad : {"x", "12", "12-", "-", "12-xyz"})
    EXPECT_EQ(kept.file->List({.before = bad}).error().code, ErrorCode::kInvalid) << bad;
  EXPECT_EQ(kept.file->List({.search = "chat", .before = "x"}).error().code, ErrorCode::kInvalid);
  // Messages, by their ids.
  for (uint64_t i = 1; i <= 10; ++i) ASSERT_TRUE(kept.Put(Key(1, i), std::string(100, 'm')));
  auto page = kept.file->Read(0, Key(1).conversation, std::nullopt, 350).value();
  ASSERT_EQ(page.messages.size(), 4u);
  EXPECT_TRUE(page.more);
  page = kept.file->Read(0, Key(1).conversation, page.messages.back().id, 1 << 20).value();
  EXPECT_EQ(page.messages.size(), 6u);
  EXPECT_FALSE(page.more);
}

TEST(ConversationFileTest, WordsAreFoundAsPeopleTypeThem) {
  Kept kept;
  ASSERT_TRUE(kept.Put(Key(1), "Bread"));
  ASSERT_TRUE(kept.Put(Key(1, 1), "How do I bake a Käsekuchen with \"quark\" (250 g)?"));
  ASSERT_TRUE(kept.Put(Key(2), "Rust"));
  ASSERT_TRUE(kept.Put(Key(2, 1), "An error[E0502]: cannot borrow *x as mutable"));
  ASSERT_TRUE(kept.Put(Key(3, 0, 9), "bread of a key"));
  EXPECT_EQ(kept.Titles({.search = "bre"}), Texts{"Bread"});
  EXPECT_EQ(kept.Titles({.search = "kasekuch bake"}), Texts{"Bread"});
  EXPECT_EQ(kept.Titles({.search = "bake borrow"}), Texts{});
  EXPECT_EQ(kept.Titles({.search = "E0502"}), Texts{"Rust"});
  EXPECT_EQ(kept.Titles({.owner = 9, .search = "bread"}), Texts{"bread of a key"});
  EXPECT_NE(kept.file->List({.search = "borrow"}).value().data[0].snippet.find("cannot borrow"),
            std::string::npos);
  // Nothing of it is syntax.
  for (const std::string text : {"\"", "NEAR(", "a OR b", "text:x", "x*", "^bread", "-bread", "()",
                                 "{owner}: 9", "'; DROP TABLE row", "AND", "\\", "*"})
    EXPECT_TRUE(kept.file->List({.search = text})) << text;
  EXPECT_EQ(kept.Titles({.search = "owner:9 bread"}), Texts{});
  // What was changed or deleted is not found any more.
  ASSERT_TRUE(kept.Put(Key(1, 1), "Nothing"));
  EXPECT_EQ(kept.Titles({.search = "quark"}), Texts{});
  ASSERT_TRUE(kept.Delete(Key(2)));
  EXPECT_EQ(kept.Titles({.search = "borrow"}), Texts{});
}

TEST(ConversationFileTest, TheLaterWriteWins) {
  Kept one(1), two(2);
  ASSERT_TRUE(one.Put(Key(1), "one"));
  two.now -= kHour;  // its clock is behind, but it has seen that write
  EXPECT_EQ(two.PullFrom(one), 1u);
  ASSERT_TRUE(two.Put(Key(1), "two"));
  EXPECT_EQ(one.PullFrom(two), 1u);
  EXPECT_EQ(one.Titles(), Texts{"two"});
  EXPECT_EQ(two.PullFrom(one), 0u);
  // Of two writes at one time the larger device's counts, on both.
  one.now = two.now = kNow + 10;
  ASSERT_TRUE(one.Put(Key(1), "from one"));
  ASSERT_TRUE(two.Put(Key(1), "from two"));
  EXPECT_EQ(one.PullFrom(two), 1u);
  EXPECT_EQ(two.PullFrom(one), 0u);
  EXPECT_EQ(one.Titles(), Texts{"from two"});
}

TEST(ConversationFileTest, ADeletedConversationTakesItsMessagesAlong) {
  Kept one(1), two(2), late(3);
  ASSERT_TRUE(one.Put(Key(1), "gone"));
  ASSERT_TRUE(one.Put(Key(1, 1), "secret"));
  two.PullFrom(one);
  late.PullFrom(one);
  ASSERT_TRUE(two.Delete(Key(1)));
  one.PullFrom(two);
  EXPECT_EQ(one.Titles(), Texts{});
  EXPECT_EQ(one.file->VersionsAfter(0, 0).value().versions.size(), 1u);  // no message is left
  // It comes back without them, also from a device that never heard of the deletion.
  one.now += kHour;
  ASSERT_TRUE(one.Put(Key(1), "again"));
  EXPECT_EQ(one.PullFrom(late), 0u);
  EXPECT_EQ(one.Messages(1), Texts{});
  late.PullFrom(one);
  EXPECT_EQ(late.Titles(), Texts{"again"});
  EXPECT_EQ(late.Messages(1), Texts{});
}

// Otherwise it would come back with a new title and none of its messages.
TEST(ConversationFileTest, AChangeThatKnewOfNoDeletionBringsNothingBack) {
  Kept one(1), two(2);
  ASSERT_TRUE(one.Put(Key(1), "plans"));
  ASSERT_TRUE(one.Put(Key(1, 1), "first"));
  two.PullFrom(one);
  ASSERT_TRUE(one.Delete(Key(1)));
  two.now += kHour;
  ASSERT_TRUE(two.Put(Key(1), "better plans"));
  EXPECT_EQ(one.PullFrom(two), 0u);
  EXPECT_EQ(two.PullFrom(one), 1u);
  for (Kept* kept : {&one, &two}) {
    EXPECT_EQ(kept->Titles(), Texts{});
    // Who knows of it may begin it anew.
    kept->now += 2 * kHour;
    ASSERT_TRUE(kept->Put(Key(1), "new"));
    EXPECT_EQ(kept->Titles(), Texts{"new"});
  }
}

TEST(ConversationFileTest, RowsOfAWrongClockWait) {
  Kept one(1), two(2);
  two.now += 25 * kHour;
  ASSERT_TRUE(two.Put(Key(1), "from tomorrow"));
  two.now = kNow;
  const auto part = two.file->VersionsAfter(0, 0).value();
  auto sifted = one.file->Sift(part.versions).value();
  EXPECT_TRUE(sifted.wanted.empty());
  EXPECT_EQ(sifted.refused, part.versions[0].number);
  EXPECT_NE(sifted.reason.find("25 hours in the future"), std::string::npos) << sifted.reason;
  EXPECT_EQ(one.file->Take(two.file->RowsOf(part.epoch, {{1}}, SIZE_MAX)->rows).value(), 0u);
  one.now += 2 * kHour;
  EXPECT_EQ(one.PullFrom(two), 1u);
}

TEST(ConversationFileTest, TombstonesAreForgottenAfterAWhile) {
  Kept one(1), two(2);
  ASSERT_TRUE(one.Put(Key(1), "a"));
  ASSERT_TRUE(one.Put(Key(2), "b"));
  ASSERT_TRUE(one.Put(Key(2, 1), "m"));
  ASSERT_TRUE(one.Delete(Key(1)));
  ASSERT_TRUE(one.Delete(Key(2, 1)));
  EXPECT_EQ(one.file->Compact().value(), 0u);
  one.now += kKeptTombstones + kHour;
  two.now = one.now;
  EXPECT_EQ(two.PullFrom(one), 1u);  // nobody here ever heard of what was deleted
  EXPECT_EQ(one.file->Compact().value(), 2u);
  EXPECT_EQ(one.file->VersionsAfter(0, 0).value().versions.size(), 1u);
  EXPECT_EQ(one.Titles(), Texts{"b"});
}

TEST(ConversationFileTest, AnImportBringsBackWhatIsMissing) {
  Kept kept;
  const auto row = [](uint64_t c, uint64_t m, const std::string& text, uint64_t updated) {
    return ImportedRow{.key = Key(c, m), .content = {text, "{}"}, .updated_ms = updated};
  };
  const std::vector<ImportedRow> rows = {row(1, 0, "one", kNow - 50), row(1, 1, "m", kNow - 40),
                                         row(2, 0, "two", kNow - 30)};
  auto counts = kept.file->Import(rows).value();
  EXPECT_EQ(counts.added, 2u);
  EXPECT_EQ(kept.Titles(), (Texts{"two", "one"}));  // by their own times
  counts = kept.file->Import(rows).value();
  EXPECT_EQ(counts.unchanged, 2u);
  ASSERT_TRUE(kept.Put(Key(1, 1), "newer"));
  ASSERT_TRUE(kept.Delete(Key(2)));
  counts = kept.file->Import(rows).value();
  EXPECT_EQ(counts.unchanged, 1u);
  EXPECT_EQ(counts.added, 1u);
  EXPECT_EQ(kept.Messages(1), Texts{"newer"});
  EXPECT_EQ(kept.Titles().size(), 2u);
  counts = kept.file->Import(std::vector{row(1, 0, "one", 1), row(1, 2, "another", 5)}).value();
  EXPECT_EQ(counts.updated, 1u);
  EXPECT_EQ(kept.Messages(1), (Texts{"newer", "another"}));
  // All or nothing.
  EXPECT_FALSE(kept.file->Import(
      std::vector{row(3, 0, "three", 0), row(3, 1, std::string(wire::kMaxRowBytes + 1, 'x'), 0)}));
  EXPECT_EQ(kept.Titles().size(), 2u);
}

TEST(ConversationFileTest, AnImportIsCutBetweenConversations) {
  std::vector<ImportedRow> rows;
  const auto add = [&](uint64_t c, size_t messages, const std::string& text) {
    for (uint64_t m = 0; m <= messages; ++m)
      rows.push_back({.key = Key(c, m), .content = {text, "{}"}});
  };
  const auto sizes = [&] {
    std::vector<size_t> parts;
    for (auto rest = std::span<const ImportedRow>(rows); !rest.empty();) {
      parts.push_back(FirstOfImport(rest).size());
      rest = rest.subspan(parts.back());
    }
    return parts;
  };
  EXPECT_EQ(sizes(), std::vector<size_t>{});
  EXPECT_EQ(CountConversations(rows), 0u);
  for (uint64_t c = 1; c <= 100; ++c) add(c, 1, "short");
  EXPECT_EQ(sizes(), (std::vector<size_t>{kImportRows, 200 - kImportRows}));
  add(101, 2 * kImportRows, "one that takes more");
  add(102, 1, "short");
  EXPECT_EQ(sizes(), (std::vector<size_t>{kImportRows, 200 - kImportRows, 2 * kImportRows + 1, 2}));
  EXPECT_EQ(CountConversations(rows), 102u);
  rows.clear();
  for (uint64_t c = 1; c <= 3; ++c) add(c, 1, std::string(kImportBytes / 5, 'x'));
  EXPECT_EQ(sizes(), (std::vector<size_t>{4, 2}));
}

TEST(ConversationFileTest, BytesOfMembersAreChecked) {
  Kept kept;
  wire::ConversationRow row{.version = {.number = 1, .key = Key(1), .updated_ms = kNow},
                            .data = "{}"};
  row.text = std::string(kMaxTitle + 1, 't');
  EXPECT_EQ(kept.file->Take(std::vector{row}).value(), 0u);
  row.text = "fits";
  EXPECT_EQ(kept.file->Take(std::vector{row, row}).value(), 1u);
  // Another epoch's numbers mean nothing here.
  const uint64_t epoch = kept.file->News().value().epoch;
  EXPECT_TRUE(kept.file->RowsOf(epoch + 1, {{1}}, SIZE_MAX)->rows.empty());
  EXPECT_EQ(kept.file->VersionsAfter(epoch + 1, 1000)->versions.size(), 1u);
  EXPECT_EQ(kept.file->VersionsAfter(epoch, 1000)->versions.size(), 0u);
  ASSERT_TRUE(kept.file->SaveCursor(Device(2), 5, 17));
  EXPECT_EQ(kept.file->Cursor(Device(2), 5).value(), 17u);
  EXPECT_EQ(kept.file->Cursor(Device(2), 6).value(), 0u);
}

// ---- files ----

Result<size_t> Count(ConversationStore& store) {
  return store.Run(
      [](ConversationFile& file) -> Result<size_t> { return TRY(file.List({})).data.size(); });
}
Result<WrittenRow> Write(ConversationStore& store, uint64_t id) {
  return store.Run([&](ConversationFile& file) {
    return file.Change(Key(id),
                       [](const RowContent*) { return std::optional(RowContent{"t", "{}"}); });
  });
}

// Whoever sends or writes without an end fills no disk; what was deleted makes room again.
TEST(ConversationFileTest, AFullFileTakesDeletionsOnly) {
  constexpr uint64_t kRoom = 1 << 20;
  std::string large;
  while (large.size() < 100'000) large += "some words ";
  Kept one(1), flood(2);
  one.file = ConversationFile::Open(
                 {.self = Device(1), .now_ms = [&] { return one.now; }, .max_used_bytes = kRoom})
                 .value();
  ASSERT_TRUE(one.Put(Key(1), "kept"));
  uint64_t message = 0;
  Result<WrittenRow> written = one.Put(Key(1, ++message), large);
  while (written && message < 100) written = one.Put(Key(1, ++message), large);
  EXPECT_EQ(written.error().code, ErrorCode::kInvalid);
  EXPECT_NE(written.error().message.find("1 MiB"), std::string::npos) << written.error().message;
  EXPECT_EQ(one.file->Import(std::vector{ImportedRow{.key = Key(9)}}).error().code,
            ErrorCode::kInvalid);
  // A member may send as much again, then it is refused, and asked for later.
  ASSERT_TRUE(flood.Put(Key(2), "of a member"));
  for (uint64_t m = 1; m <= 40; ++m) ASSERT_TRUE(flood.Put(Key(2, m), large));
  const auto offered = flood.file->VersionsAfter(0, 0).value();
  ConversationFile::Sifted sifted;
  for (int round = 0; round < 50; ++round) {
    sifted = one.file->Sift(offered.versions).value();
    if (sifted.wanted.empty()) break;
    const auto rows = flood.file->RowsOf(offered.epoch, sifted.wanted, large.size()).value();
    ASSERT_GT(one.file->Take(rows.rows).value(), 0u);
  }
  EXPECT_GT(sifted.refused, 2u);
  EXPECT_NE(sifted.reason.find("2 MiB"), std::string::npos) << sifted.reason;
  const size_t taken = one.Messages(2).size();
  EXPECT_GT(taken, 2u);
  EXPECT_LT(taken, 20u);
  // Tombstones of what nobody here knows would grow it as well.
  flood.PullFrom(one);
  ASSERT_TRUE(flood.Delete(Key(2, 40)));
  ASSERT_TRUE(flood.Delete(Key(2, 1)));
  EXPECT_EQ(one.PullFrom(flood), 1u);
  ASSERT_TRUE(flood.Delete(Key(2)));
  EXPECT_EQ(one.PullFrom(flood), 1u);
  ASSERT_TRUE(one.Delete(Key(1)));
  EXPECT_TRUE(one.Put(Key(3), "there is room"));
}

TEST(ConversationStoreTest, IsAFileThatOnlyItsUserReads) {
  const TestFolder folder;
  const std::string path = folder / "conversations.db";
  {
    ConversationStore store({.path = path, .self = Device(1)});
    EXPECT_FALSE(std::filesystem::exists(path));  // until it is needed
    ASSERT_TRUE(Write(store, 1));
    for (const char* end : {"", "-wal"}) {
      struct stat info;
      ASSERT_EQ(::stat((path + end).c_str(), &info), 0) << end;
      EXPECT_EQ(info.st_mode & 0777, 0600u) << end;
    }
  }
  ConversationStore again({.path = path, .self = Device(1)});
  EXPECT_EQ(Count(again).value(), 1u);
}

TEST(ConversationStoreTest, ADamagedFileIsMovedAside) {
  constexpr size_t kPage = 4096;
  for (const size_t begin : {size_t{0}, kPage}) {  // found when it is opened, or when it is read
    const TestFolder folder;
    const std::string path = folder / "conversations.db";
    {
      ConversationStore store({.path = path, .self = Device(1)});
      for (uint64_t i = 1; i <= 20; ++i) ASSERT_TRUE(Write(store, i));
    }
    {
      std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(static_cast<std::streamoff>(begin));
      for (size_t i = begin; i < std::filesystem::file_size(path); ++i) file.put('\x5a');
    }
    ConversationStore store({.path = path, .self = Device(1)});
    const auto first = Count(store);
    EXPECT_EQ(first.has_value(), begin == 0);
    if (!first) {
      EXPECT_EQ(first.error().code, ErrorCode::kCorrupt);
      EXPECT_NE(first.error().message.find("was moved to"), std::string::npos)
          << first.error().message;
    }
    EXPECT_EQ(Count(store).value(), 0u);
    EXPECT_TRUE(Write(store, 1));
    const auto is_aside = [](const auto& entry) {
      return entry.path().string().find(".damaged-") != std::string::npos;
    };
    EXPECT_TRUE(std::ranges::any_of(std::filesystem::directory_iterator(folder.path()), is_aside));
  }
}

TEST(ConversationStoreTest, AFolderThatCannotBeWrittenIsAnError) {
  const TestFolder folder;
  ConversationStore store({.path = folder / "missing/conversations.db", .self = Device(1)});
  EXPECT_EQ(Count(store).error().code, ErrorCode::kIo);
  std::filesystem::create_directory(folder / "missing");
  EXPECT_EQ(Count(store).value(), 0u);  // tried again
}

TEST(ConversationStoreTest, AFileOfANewerExoIsLeftAlone) {
  const TestFolder folder;
  const std::string path = folder / "conversations.db";
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(db, "PRAGMA user_version = 99", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(db);
  ConversationStore store({.path = path, .self = Device(1)});
  EXPECT_EQ(Count(store).error().code, ErrorCode::kUnsupported);
  EXPECT_TRUE(std::filesystem::exists(path));
}

// EXO_BENCH=1: told, not limited. Processor time, since the machine is shared.
class ConversationFileBench : public testing::Test {
 protected:
  void SetUp() override {
    if (std::getenv("EXO_BENCH") == nullptr) GTEST_SKIP() << "set EXO_BENCH=1";
  }
  static std::vector<ImportedRow> Conversations(uint64_t count) {
    std::vector<ImportedRow> rows;
    for (uint64_t c = 1; c <= count; ++c) {
      rows.push_back({.key = Key(c), .content = {fmt::format("Chat number {}", c), "{}"}});
      for (uint64_t m = 1; m <= 2; ++m) {
        rows.push_back(
            {.key = Key(c, m),
             .content = {fmt::format("The answer to question {} is {} apples", c, c * m), "{}"}});
      }
    }
    return rows;
  }
  template <class Work>
  static double MillisecondsOf(Work work) {
    const std::clock_t begin = std::clock();
    work();
    return 1e3 * static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  }
  // What a page that opens, or somebody who searches, waits for.
  static void TellReads(ConversationFile& file, const std::string& where) {
    for (const std::string search : {"", "apples", "answer 777", "number 12", "qu"}) {
      std::vector<double> ms;
      size_t found = 0;
      for (int round = 0; round < 7; ++round) {
        ms.push_back(
            MillisecondsOf([&] { found = file.List({.search = search}).value().data.size(); }));
      }
      std::ranges::sort(ms);
      EXPECT_GT(found, 0u) << search;
      fmt::print("{}: list '{}': {} in {:.2f} ms ({:.2f} to {:.2f})\n", where, search, found, ms[3],
                 ms.front(), ms.back());
    }
  }
};

TEST_F(ConversationFileBench, TenThousandConversations) {
  Kept kept;
  ASSERT_EQ(kept.file->Import(Conversations(10'000)).value().added, 10'000u);
  TellReads(*kept.file, "10,000");
}

// How long a question waits for an import: for all of it, or for one part, in a file on disk.
TEST_F(ConversationFileBench, AnImportInParts) {
  const std::vector<ImportedRow> rows = Conversations(20'000);
  const TestFolder folder;
  Kept whole(1, folder / "whole.db"), parts(1, folder / "parts.db");
  const double at_once =
      MillisecondsOf([&] { EXPECT_EQ(whole.file->Import(rows).value().added, 20'000u); });
  std::vector<double> each;
  for (auto rest = std::span<const ImportedRow>(rows); !rest.empty();) {
    const auto part = FirstOfImport(rest);
    each.push_back(MillisecondsOf([&] { EXPECT_TRUE(parts.file->Import(part)); }));
    rest = rest.subspan(part.size());
  }
  std::ranges::sort(each);
  double sum = 0;
  for (const double ms : each) sum += ms;
  fmt::print(
      "20,000 at once: {:.0f} ms; in {} parts: {:.0f} ms, a part {:.1f} ms, the longest "
      "{:.1f}\n",
      at_once, each.size(), sum, each[each.size() / 2], each.back());
  TellReads(*parts.file, "20,000");
}

}  // namespace
}  // namespace exo::store
