// What a node asks of other members so that it comes to have every row of their conversations: a
// passive machine. Somebody else sends its messages and does its work with the file
// (conversation_keeper.h), and tells it what came of that.
//
// A member says up to which number its rows go (ConversationNews). Where that is behind what is
// known here, the versions of the rows in between are asked for (ConversationPull), then, of those
// that say more than what is here, the rows themselves, a frame at a time; then the number up to
// which all is here is kept. One member is asked at a time, and one question is open: so memory is
// bounded, and of rows that several members have only the first one sends more than versions. What
// is interrupted goes on from the last number that was kept.
//
// Thread: pure, one caller at a time. Owner: ConversationKeeper.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "base/units.h"
#include "wire/messages.h"

namespace exo::node {

class ConversationSync {
 public:
  static constexpr Time kAnswerLimit = std::chrono::seconds(20);
  static constexpr Time kRetry = std::chrono::seconds(30);
  // Rows that were refused (a wrong clock, here or there) are asked for again after that.
  static constexpr Time kRetryRefused = std::chrono::hours(1);

  // What is to be done. A ticket belongs to the answer: a late one of an earlier question is
  // passed over.
  struct Ask {
    NodeId peer;
    wire::ConversationPull pull;
  };
  struct FindCursor {  // -> OnCursor
    uint64_t ticket;
    NodeId peer;
    uint64_t epoch;
  };
  struct Sift {  // -> OnSifted
    uint64_t ticket;
    std::vector<wire::RowVersion> versions;
  };
  struct Take {  // -> OnTaken
    uint64_t ticket;
    std::vector<wire::ConversationRow> rows;
  };
  struct KeepCursor {
    NodeId peer;
    uint64_t epoch;
    uint64_t number;
  };
  using Effect = std::variant<Ask, FindCursor, Sift, Take, KeepCursor>;
  using Effects = std::vector<Effect>;

  // --- what members say ---
  Effects OnNews(const NodeId& peer, const wire::ConversationNews& news, Time now);
  Effects OnVersions(const NodeId& peer, wire::ConversationVersions part, Time now);
  Effects OnRows(const NodeId& peer, wire::ConversationRows part, Time now);
  Effects OnDown(const NodeId& peer, Time now);

  // --- what came of the work ---
  Effects OnCursor(uint64_t ticket, uint64_t number, Time now);
  // `wanted`, ascending: numbers of versions; `refused`: as ConversationFile::Sifted.
  Effects OnSifted(uint64_t ticket, std::vector<uint64_t> wanted, uint64_t refused, Time now);
  Effects OnTaken(uint64_t ticket, Time now);
  // It could not be done: the same again after a while.
  Effects OnFailed(uint64_t ticket, Time now);

  // Once a second or so.
  Effects OnTick(Time now);

 private:
  struct Peer {
    uint64_t epoch = 0;
    uint64_t last = 0;               // of its rows
    std::optional<uint64_t> cursor;  // up to which they are here; unset: as the file says
    std::optional<Time> refused_at;  // then the file's stays in front of the first that was refused
    Time not_before{};
  };
  enum class Step : uint8_t { kCursor, kVersions, kSift, kRows, kTake };
  struct Pull {
    uint64_t ticket = 0;
    NodeId peer;
    Step step = Step::kCursor;
    Time deadline{};                    // of an answer of the peer
    wire::ConversationVersions part;    // that is worked on
    std::vector<uint64_t> wanted = {};  // of it, ascending
    uint64_t refused = 0;
  };
  // The pull, if it is with this peer or ticket and at this step.
  bool IsAt(const NodeId& peer, Step step) const;
  bool IsAt(uint64_t ticket, Step step) const;
  Effects Next(Time now);
  Effects AskVersions(Time now);
  Effects AskRows(Time now);
  Effects FinishPart(Time now);
  Effects PutOff(Time now);

  std::map<NodeId, Peer> peers_;  // those with a session that have said something
  std::optional<Pull> pull_;
  NodeId last_asked_;
  uint64_t next_ticket_ = 1;
};

}  // namespace exo::node
