#include "store/conversations.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "wire/limits.h"

namespace exo::store {
namespace {

wire::RowKey OfConversation(uint64_t owner, const ConversationId& id) {
  return {.owner = owner, .conversation = id, .message = {}};
}

std::unexpected<Error> NoSuchConversation(const ConversationId& id) {
  return Fail(ErrorCode::kNotFound, "there is no conversation {}", id.Hex());
}

size_t SizeOf(const RowContent& content) {
  return content.text.size() + content.data.size();
}

Result<void> CheckSize(const wire::RowKey& key, const RowContent& content) {
  if (!key.message.IsZero()) {
    if (SizeOf(content) <= wire::kMaxRowBytes) return {};
    return Fail(ErrorCode::kInvalid, "a message takes {} bytes at most, not {}", wire::kMaxRowBytes,
                SizeOf(content));
  }
  if (content.text.size() > kMaxTitle) {
    return Fail(ErrorCode::kInvalid, "a title takes {} bytes at most, not {}", kMaxTitle,
                content.text.size());
  }
  if (content.data.size() <= kMaxSettings) return {};
  return Fail(ErrorCode::kInvalid, "the settings of a conversation take {} bytes at most, not {}",
              kMaxSettings, content.data.size());
}

Result<void> CheckRoom(size_t shown) {
  if (shown < kMaxConversations) return {};
  return Fail(ErrorCode::kInvalid, "{} conversations are kept already: delete some first",
              kMaxConversations);
}

bool IsOfOne(const ImportedRow& a, const ImportedRow& b) {
  return a.key.owner == b.key.owner && a.key.conversation == b.key.conversation;
}

// The page of an empty search too: nobody's words are found.
bool IsSearch(const ConversationQuery& query) {
  return query.search.find_first_not_of(" \t\r\n") != std::string::npos;
}

}  // namespace

Result<std::unique_ptr<ConversationFile>> ConversationFile::Open(
    const ConversationFileOptions& options) {
  auto db = TRY(Database::Open({.path = options.path,
                                .what = "the file of conversations",
                                .migrations = kConversationMigrations}));
  return std::unique_ptr<ConversationFile>(new ConversationFile(std::move(db), options));
}

uint64_t ConversationFile::NowMs() const {
  if (options_.now_ms) return options_.now_ms();
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::max<int64_t>(now / std::chrono::milliseconds(1), 0));
}

uint64_t ConversationFile::ForgetMs() const {
  const uint64_t now = NowMs();
  return now - std::min(now, kKeptTombstones);
}

Result<ConversationPage> ConversationFile::List(const ConversationQuery& query) {
  return IsSearch(query) ? SearchConversations(*db_, query) : ListConversations(*db_, query);
}

Result<MessagePage> ConversationFile::Read(uint64_t owner, const ConversationId& id,
                                           const std::optional<MessageId>& after,
                                           size_t max_bytes) {
  const auto found = TRY(rows_.Find(OfConversation(owner, id)));
  if (!found || found->version.deleted) return NoSuchConversation(id);
  MessagePage page{.conversation = {.id = id, .content = {found->text, found->data}}};
  {
    Statement shown(*db_, "SELECT active FROM shown WHERE owner = ?1 AND id = ?2");
    shown.Bind(1, ToColumn(owner)).Bind(2, BytesOf(id));
    if (TRY(shown.Next())) page.conversation.updated_ms = static_cast<uint64_t>(shown.Int(0));
  }
  Statement rows(*db_,
                 "SELECT message, text, data, updated FROM row WHERE owner = ?1 AND conversation = "
                 "?2 AND message > ?3 AND NOT deleted ORDER BY message");
  // The zero id is the conversation's own.
  rows.Bind(1, ToColumn(owner)).Bind(2, BytesOf(id)).Bind(3, BytesOf(after.value_or(MessageId{})));
  size_t bytes = 0;
  while (TRY(rows.Next())) {
    if (bytes >= max_bytes) {
      page.more = true;
      break;
    }
    page.messages.push_back({.id = IdAt<MessageId>(rows, 0),
                             .content = {rows.Text(1), rows.Text(2)},
                             .updated_ms = static_cast<uint64_t>(rows.Int(3))});
    bytes += SizeOf(page.messages.back().content);
  }
  return page;
}

Result<void> ConversationFile::CheckSpace() {
  const uint64_t used = TRY(rows_.UsedBytes());
  if (used < options_.max_used_bytes) return {};
  return Fail(ErrorCode::kInvalid,
              "conversations take {} MiB already, which is the limit: delete some first (what was "
              "deleted leaves a mark for 90 days)",
              used >> 20);
}

Result<WrittenRow> ConversationFile::Write(const wire::RowKey& key, RowContent content,
                                           bool deleted, uint64_t updated_ms) {
  TRY(CheckSize(key, content));
  uint64_t cleared_ms = 0;
  if (key.message.IsZero()) cleared_ms = deleted ? updated_ms : TRY(rows_.ClearedOf(key));
  wire::ConversationRow row{.version = {.key = key,
                                        .updated_ms = updated_ms,
                                        .device = options_.self,
                                        .deleted = deleted,
                                        .cleared_ms = cleared_ms},
                            .text = std::move(content.text),
                            .data = std::move(content.data)};
  (void)TRY(rows_.Merge(row));
  Note(row.version);
  return WrittenRow{.content = {std::move(row.text), std::move(row.data)},
                    .updated_ms = updated_ms};
}

Result<WrittenRow> ConversationFile::Change(const wire::RowKey& key, const RowChange& change) {
  Transaction all(*db_);
  const bool is_message = !key.message.IsZero();
  if (is_message && !TRY(rows_.IsShown(key.owner, key.conversation)))
    return NoSuchConversation(key.conversation);
  const auto found = TRY(rows_.Find(key));
  const bool exists = found && !found->version.deleted;
  const RowContent now = exists ? RowContent{found->text, found->data} : RowContent{};
  const auto wanted = TRY(change(exists ? &now : nullptr));
  if (!wanted && !exists) {
    if (!is_message) return NoSuchConversation(key.conversation);
    return Fail(ErrorCode::kNotFound, "there is no message {} in this conversation",
                key.message.Hex());
  }
  if (exists && wanted == now)
    return WrittenRow{.content = now, .updated_ms = found->version.updated_ms};
  if (wanted) TRY(CheckSpace());
  if (!exists && !is_message) TRY(CheckRoom(TRY(rows_.CountShown())));
  const uint64_t updated_ms = TRY(rows_.NextTime(NowMs()));
  WrittenRow written =
      TRY(Write(key, wanted.value_or(RowContent{}), !wanted.has_value(), updated_ms));
  TRY(all.Commit());
  return written;
}

// False: what is here is as new. `shown`: how many conversations there are.
Result<bool> ConversationFile::ImportRow(const ImportedRow& row, size_t& shown, bool& is_new) {
  const auto found = TRY(rows_.Find(row.key));
  is_new = !found || found->version.deleted;
  if (!is_new && RowContent{found->text, found->data} == row.content) return false;
  if (!is_new && row.updated_ms != 0 && row.updated_ms <= found->version.updated_ms) return false;
  const uint64_t now = NowMs();
  uint64_t updated_ms = row.updated_ms;
  // What was deleted comes back only by a later write.
  const bool was_deleted = found && found->version.deleted;
  if (updated_ms == 0 || updated_ms > now || was_deleted) updated_ms = TRY(rows_.NextTime(now));
  if (!row.key.message.IsZero()) {
    const auto conversation = TRY(rows_.Find(OfConversation(row.key.owner, row.key.conversation)));
    if (!conversation || conversation->version.deleted)
      return NoSuchConversation(row.key.conversation);
    if (updated_ms <= conversation->version.cleared_ms) updated_ms = TRY(rows_.NextTime(now));
  } else if (is_new) {
    TRY(CheckRoom(shown++));
  }
  TRY(Write(row.key, row.content, false, updated_ms));
  return true;
}

Result<ImportCounts> ConversationFile::Import(std::span<const ImportedRow> rows) {
  Transaction all(*db_);
  TRY(CheckSpace());
  ImportCounts counts;
  size_t shown = TRY(rows_.CountShown());
  std::map<std::pair<uint64_t, ConversationId>, size_t*> told;
  for (const ImportedRow& row : rows) {
    bool is_new = false;
    const bool changed = TRY(ImportRow(row, shown, is_new));
    size_t*& count = told[{row.key.owner, row.key.conversation}];
    if (count == nullptr) {
      const bool added = is_new && row.key.message.IsZero();
      count = added ? &counts.added : changed ? &counts.updated : &counts.unchanged;
      ++*count;
    } else if (changed && count == &counts.unchanged) {
      --counts.unchanged;
      ++counts.updated;
      count = &counts.updated;
    }
  }
  TRY(all.Commit());
  return counts;
}

ImportCounts& ImportCounts::operator+=(const ImportCounts& more) {
  added += more.added;
  updated += more.updated;
  unchanged += more.unchanged;
  return *this;
}

std::span<const ImportedRow> FirstOfImport(std::span<const ImportedRow> rows) {
  size_t taken = 0;
  for (size_t end = 0, bytes = 0; end < rows.size();) {
    const size_t begin = end;
    for (; end < rows.size() && IsOfOne(rows[begin], rows[end]); ++end)
      bytes += SizeOf(rows[end].content);
    if (taken > 0 && (end > kImportRows || bytes > kImportBytes)) break;
    taken = end;
  }
  return rows.first(taken);
}

size_t CountConversations(std::span<const ImportedRow> rows) {
  size_t count = 0;
  for (size_t i = 0; i < rows.size(); ++i) count += i == 0 || !IsOfOne(rows[i - 1], rows[i]);
  return count;
}

Result<wire::ConversationNews> ConversationFile::News() {
  return wire::ConversationNews{.epoch = TRY(rows_.Epoch()), .last = TRY(rows_.LastNumber())};
}

Result<wire::ConversationVersions> ConversationFile::VersionsAfter(uint64_t epoch, uint64_t after) {
  const wire::ConversationNews now = TRY(News());
  if (epoch != now.epoch) after = 0;
  wire::ConversationVersions part{
      .epoch = now.epoch,
      .after = after,
      .through = now.last,
      .last = now.last,
      .versions = TRY(rows_.VersionsAfter(after, wire::kMaxRowVersions))};
  if (part.versions.size() == wire::kMaxRowVersions) part.through = part.versions.back().number;
  return part;
}

Result<wire::ConversationRows> ConversationFile::RowsOf(uint64_t epoch,
                                                        std::span<const uint64_t> numbers,
                                                        size_t max_bytes) {
  wire::ConversationRows part{.epoch = TRY(rows_.Epoch())};
  if (epoch != part.epoch) return part;
  size_t bytes = 0;
  for (const uint64_t number : numbers) {
    if (bytes >= max_bytes) break;
    part.through = number;
    auto row = TRY(rows_.FindByNumber(number));
    if (!row) continue;
    bytes += row->text.size() + row->data.size();
    part.rows.push_back(*std::move(row));
  }
  return part;
}

Result<ConversationFile::Sifted> ConversationFile::Sift(
    std::span<const wire::RowVersion> versions) {
  Sifted sifted;
  const bool is_full = TRY(rows_.UsedBytes()) >= 2 * options_.max_used_bytes;
  size_t shown = TRY(rows_.CountShown());
  for (const wire::RowVersion& version : versions) {
    if (!TRY(rows_.IsNews(version, ForgetMs()))) continue;
    std::string reason = TRY(WhyRefused(version, is_full, shown));
    if (reason.empty()) {
      sifted.wanted.push_back(version.number);
    } else if (sifted.refused == 0) {
      sifted.refused = version.number;
      sifted.reason = std::move(reason);
    }
  }
  return sifted;
}

// Empty: it is taken. Conversations twice: what two halves of a cluster have begun apart is kept.
Result<std::string> ConversationFile::WhyRefused(const wire::RowVersion& version, bool is_full,
                                                 size_t& shown) {
  const uint64_t now = NowMs();
  if (version.updated_ms > now + kMaxClockSkew) {
    return fmt::format("a row of {} is from {} hours in the future: is a clock wrong?",
                       version.device.Short(), (version.updated_ms - now) / 3'600'000);
  }
  // A deletion of what is here takes no space.
  if (is_full && !(version.deleted && TRY(rows_.IsKnown(version.key)))) {
    return fmt::format("conversations take {} MiB here already", 2 * options_.max_used_bytes >> 20);
  }
  const bool begins = version.key.message.IsZero() && !version.deleted &&
                      !TRY(rows_.IsShown(version.key.owner, version.key.conversation));
  if (begins && ++shown > 2 * kMaxConversations)
    return fmt::format("more than {} conversations", 2 * kMaxConversations);
  return "";
}

// Of a row of a member.
bool ConversationFile::IsSound(const wire::ConversationRow& row) const {
  if (row.version.deleted) return row.text.empty() && row.data.empty();
  const bool fits = CheckSize(row.version.key, {row.text, row.data}).has_value();
  return fits && (!options_.is_data || options_.is_data(row.data));
}

Result<size_t> ConversationFile::Take(std::span<const wire::ConversationRow> rows) {
  std::vector<wire::RowVersion> versions;
  for (const wire::ConversationRow& row : rows) {
    if (IsSound(row)) versions.push_back(row.version);
  }
  const Sifted sifted = TRY(Sift(versions));
  Transaction all(*db_);
  size_t taken = 0;
  for (const wire::ConversationRow& row : rows) {
    if (!std::ranges::binary_search(sifted.wanted, row.version.number)) continue;
    if (!TRY(rows_.Merge(row))) continue;
    Note(row.version);
    ++taken;
  }
  TRY(all.Commit());
  return taken;
}

Result<uint64_t> ConversationFile::Cursor(const NodeId& peer, uint64_t epoch) {
  Statement row(*db_, "SELECT number FROM cursor WHERE peer = ?1 AND epoch = ?2");
  row.Bind(1, BytesOf(peer)).Bind(2, ToColumn(epoch));
  if (!TRY(row.Next())) return 0;
  return static_cast<uint64_t>(row.Int(0));
}

Result<void> ConversationFile::SaveCursor(const NodeId& peer, uint64_t epoch, uint64_t number) {
  return Statement(*db_, "INSERT OR REPLACE INTO cursor (peer, epoch, number) VALUES (?1, ?2, ?3)")
      .Bind(1, BytesOf(peer))
      .Bind(2, ToColumn(epoch))
      .Bind(3, ToColumn(number))
      .Run();
}

Result<size_t> ConversationFile::Compact() {
  Transaction all(*db_);
  const size_t removed = TRY(rows_.Compact(ForgetMs()));
  TRY(all.Commit());
  return removed;
}

void ConversationFile::Note(const wire::RowVersion& version) {
  const ConversationChange change{.owner = version.key.owner,
                                  .id = version.key.conversation,
                                  .deleted = version.deleted && version.key.message.IsZero()};
  changes_[{change.owner, change.id}] = change.deleted;
}

std::vector<ConversationChange> ConversationFile::TakeChanges() {
  std::vector<ConversationChange> changes;
  for (const auto& [of, deleted] : std::exchange(changes_, {}))
    changes.push_back({.owner = of.first, .id = of.second, .deleted = deleted});
  return changes;
}

}  // namespace exo::store
