// Lists of conversations: by time, and by words.
//
// The order of a search is that in which rows came to this file, the latest first: the index has it
// without sorting, so that a page of a word that all texts have costs no more than that of a rare
// one.
#include <charconv>
#include <set>

#include "store/conversations.h"

namespace exo::store {
namespace {

constexpr size_t kSnippet = 160;  // bytes, of a last message
constexpr size_t kMaxWords = 16;

std::unexpected<Error> BadPage(const std::string& before) {
  return Fail(ErrorCode::kInvalid, "'before' is '{}', but must be the 'next' of a former answer",
              before.substr(0, 128));
}

Result<int64_t> NumberOf(std::string_view text, const std::string& before) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return BadPage(before);
  return number;
}

// What people type as FTS5 takes it: each word a prefix, all of them in one row. Quoted, so that
// nothing of it is syntax.
std::string MatchOf(const ConversationQuery& query) {
  std::string words;
  size_t count = 0;
  for (size_t at = 0; at < query.search.size() && count < kMaxWords;) {
    const size_t begin = query.search.find_first_not_of(" \t\r\n", at);
    if (begin == std::string::npos) break;
    at = std::min(query.search.find_first_of(" \t\r\n", begin), query.search.size());
    std::string word = query.search.substr(begin, at - begin);
    std::erase_if(word, [](char c) { return c == '"' || c == '\0'; });
    // The index has prefixes of two letters and more; one letter would have to look through all.
    words += fmt::format("{}\"{}\"{}", words.empty() ? "" : " ", word, word.size() > 1 ? " *" : "");
    ++count;
  }
  return fmt::format("owner : \"{}\" AND text : ({})", ToColumn(query.owner), words);
}

}  // namespace

// The end of a page is its last conversation: TIME-ID.
Result<ConversationPage> ListConversations(Database& db, const ConversationQuery& query) {
  int64_t before_ms = std::numeric_limits<int64_t>::max();
  ConversationId before_id;
  if (!query.before.empty()) {
    const size_t dash = std::min(query.before.find('-'), query.before.size() - 1);
    const auto id = ConversationId::FromHex(std::string_view(query.before).substr(dash + 1));
    if (!id) return BadPage(query.before);
    before_ms = TRY(NumberOf(std::string_view(query.before).substr(0, dash), query.before));
    before_id = *id;
  }
  Statement rows(db,
                 "SELECT shown.id, shown.active, row.text, row.data, substr(last.text, 1, ?5) "
                 "FROM shown "
                 "JOIN row ON row.owner = ?1 AND row.conversation = shown.id AND row.message = ?6 "
                 "LEFT JOIN row AS last ON last.number = shown.latest AND last.message != ?6 "
                 "WHERE shown.owner = ?1 AND (shown.active, shown.id) < (?2, ?3) "
                 "ORDER BY shown.active DESC, shown.id DESC LIMIT ?4");
  rows.Bind(1, ToColumn(query.owner))
      .Bind(2, before_ms)
      .Bind(3, BytesOf(before_id))
      .Bind(4, static_cast<int64_t>(query.limit + 1))
      .Bind(5, static_cast<int64_t>(kSnippet))
      .Bind(6, BytesOf(MessageId{}));
  ConversationPage page;
  while (TRY(rows.Next())) {
    if (page.data.size() == query.limit) {
      page.next = fmt::format("{}-{}", page.data.back().updated_ms, page.data.back().id.Hex());
      break;
    }
    page.data.push_back({.id = IdAt<ConversationId>(rows, 0),
                         .content = {rows.Text(2), rows.Text(3)},
                         .updated_ms = static_cast<uint64_t>(rows.Int(1)),
                         .snippet = rows.Text(4)});
  }
  return page;
}

// The end of a page is the number of its last row. What was on former pages is passed over.
Result<ConversationPage> SearchConversations(Database& db, const ConversationQuery& query) {
  const int64_t before = query.before.empty() ? std::numeric_limits<int64_t>::max()
                                              : TRY(NumberOf(query.before, query.before));
  Statement rows(db,
                 "SELECT row.conversation, found.rowid, snippet(found, 1, '', '', '…', 16) "
                 "FROM found JOIN row ON row.number = found.rowid "
                 "WHERE found MATCH ?1 AND row.owner = ?2 ORDER BY found.rowid DESC");
  rows.Bind(1, MatchOf(query)).Bind(2, ToColumn(query.owner));
  Statement whole(db,
                  "SELECT shown.active, row.text, row.data FROM shown "
                  "JOIN row ON row.owner = ?1 AND row.conversation = ?2 AND row.message = ?3 "
                  "WHERE shown.owner = ?1 AND shown.id = ?2");
  std::set<ConversationId> seen;
  ConversationPage page;
  int64_t last = 0;
  while (TRY(rows.Next())) {
    const auto id = IdAt<ConversationId>(rows, 0);
    const int64_t number = rows.Int(1);
    if (!seen.insert(id).second || number >= before) continue;
    whole.Reset();
    whole.Bind(1, ToColumn(query.owner)).Bind(2, BytesOf(id)).Bind(3, BytesOf(MessageId{}));
    if (!TRY(whole.Next())) continue;  // it was deleted
    if (page.data.size() == query.limit) {
      page.next = std::to_string(last);
      break;
    }
    last = number;
    page.data.push_back({.id = id,
                         .content = {whole.Text(1), whole.Text(2)},
                         .updated_ms = static_cast<uint64_t>(whole.Int(0)),
                         .snippet = rows.Text(2)});
  }
  return page;
}

}  // namespace exo::store
