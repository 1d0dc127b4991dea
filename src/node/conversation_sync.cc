#include "node/conversation_sync.h"

#include <algorithm>
#include <utility>

namespace exo::node {
namespace {

// Numbers ascend behind `after`, up to `through`.
bool IsOrdered(const wire::ConversationVersions& part) {
  uint64_t before = part.after;
  for (const wire::RowVersion& version : part.versions) {
    if (version.number <= before) return false;
    before = version.number;
  }
  return before <= part.through && part.through <= part.last;
}

}  // namespace

using Effects = ConversationSync::Effects;

bool ConversationSync::IsAt(const NodeId& peer, Step step) const {
  return pull_ && pull_->peer == peer && pull_->step == step;
}

bool ConversationSync::IsAt(uint64_t ticket, Step step) const {
  return pull_ && pull_->ticket == ticket && pull_->step == step;
}

Effects ConversationSync::OnNews(const NodeId& peer, const wire::ConversationNews& news, Time now) {
  Peer& known = peers_[peer];
  if (known.epoch != news.epoch) {  // a new file, which counts anew
    known = {.epoch = news.epoch};
    if (pull_ && pull_->peer == peer) pull_.reset();
  }
  known.last = news.last;
  return Next(now);
}

// The next member that has something, in turn.
Effects ConversationSync::Next(Time now) {
  if (pull_) return {};
  const auto has_more = [&](const auto& one) {
    const Peer& peer = one.second;
    return now >= peer.not_before && (peer.cursor ? *peer.cursor < peer.last : peer.last > 0);
  };
  auto found = std::find_if(peers_.upper_bound(last_asked_), peers_.end(), has_more);
  if (found == peers_.end()) found = std::ranges::find_if(peers_, has_more);
  if (found == peers_.end()) return {};
  last_asked_ = found->first;
  pull_ = Pull{.ticket = next_ticket_++, .peer = found->first};
  if (found->second.cursor) return AskVersions(now);
  return {FindCursor{pull_->ticket, pull_->peer, found->second.epoch}};
}

Effects ConversationSync::OnCursor(uint64_t ticket, uint64_t number, Time now) {
  if (!IsAt(ticket, Step::kCursor)) return {};
  Peer& peer = peers_[pull_->peer];
  peer.cursor = number;
  if (number < peer.last) return AskVersions(now);
  pull_.reset();
  return Next(now);
}

Effects ConversationSync::AskVersions(Time now) {
  const Peer& peer = peers_[pull_->peer];
  pull_->step = Step::kVersions;
  pull_->deadline = now + kAnswerLimit;
  return {Ask{pull_->peer, {.epoch = peer.epoch, .after = *peer.cursor}}};
}

Effects ConversationSync::OnVersions(const NodeId& from, wire::ConversationVersions part,
                                     Time now) {
  if (!IsAt(from, Step::kVersions)) return {};
  Peer& peer = peers_[from];
  if (part.epoch != peer.epoch) return OnNews(from, {.epoch = part.epoch, .last = part.last}, now);
  // Of another question; or it makes no sense, or would never end.
  if (part.after != *peer.cursor) return {};
  if (!IsOrdered(part) || (part.through == part.after && part.last > part.after))
    return PutOff(now);
  peer.last = part.last;
  pull_->step = Step::kSift;
  Effects effects = {Sift{pull_->ticket, part.versions}};
  pull_->part = std::move(part);
  return effects;
}

Effects ConversationSync::OnSifted(uint64_t ticket, std::vector<uint64_t> wanted, uint64_t refused,
                                   Time now) {
  if (!IsAt(ticket, Step::kSift)) return {};
  pull_->wanted = std::move(wanted);
  pull_->refused = refused;
  return pull_->wanted.empty() ? FinishPart(now) : AskRows(now);
}

Effects ConversationSync::AskRows(Time now) {
  pull_->step = Step::kRows;
  pull_->deadline = now + kAnswerLimit;
  return {Ask{pull_->peer, {.epoch = peers_[pull_->peer].epoch, .rows = pull_->wanted}}};
}

Effects ConversationSync::OnRows(const NodeId& from, wire::ConversationRows part, Time now) {
  if (!IsAt(from, Step::kRows)) return {};
  std::vector<uint64_t>& wanted = pull_->wanted;
  const auto through = std::ranges::find(wanted, part.through);
  if (part.epoch != peers_[from].epoch || through == wanted.end()) return PutOff(now);
  std::erase_if(part.rows, [&](const wire::ConversationRow& row) {
    return !std::binary_search(wanted.begin(), through + 1, row.version.number);
  });
  wanted.erase(wanted.begin(), through + 1);
  pull_->step = Step::kTake;
  return {Take{pull_->ticket, std::move(part.rows)}};
}

Effects ConversationSync::OnTaken(uint64_t ticket, Time now) {
  if (!IsAt(ticket, Step::kTake)) return {};
  return pull_->wanted.empty() ? FinishPart(now) : AskRows(now);
}

Effects ConversationSync::FinishPart(Time now) {
  const Pull done = *std::exchange(pull_, std::nullopt);
  Peer& peer = peers_[done.peer];
  peer.cursor = done.part.through;
  uint64_t kept = done.part.through;
  if (done.refused != 0 && !peer.refused_at) {
    peer.refused_at = now;
    kept = done.refused - 1;
  } else if (peer.refused_at) {
    kept = 0;
  }
  Effects effects;
  if (kept > 0) effects.emplace_back(KeepCursor{done.peer, peer.epoch, kept});
  for (Effect& effect : Next(now)) effects.push_back(std::move(effect));
  return effects;
}

Effects ConversationSync::OnDown(const NodeId& peer, Time now) {
  peers_.erase(peer);
  if (pull_ && pull_->peer == peer) pull_.reset();
  return Next(now);
}

Effects ConversationSync::OnFailed(uint64_t ticket, Time now) {
  return pull_ && pull_->ticket == ticket ? PutOff(now) : Effects{};
}

Effects ConversationSync::PutOff(Time now) {
  peers_[pull_->peer].not_before = now + kRetry;
  pull_.reset();
  return Next(now);
}

Effects ConversationSync::OnTick(Time now) {
  for (auto& [id, peer] : peers_) {
    const bool is_asked = pull_ && pull_->peer == id;
    if (is_asked || !peer.refused_at || now < *peer.refused_at + kRetryRefused) continue;
    peer.refused_at.reset();
    peer.cursor.reset();
  }
  const bool waits = pull_ && (pull_->step == Step::kVersions || pull_->step == Step::kRows);
  return waits && now >= pull_->deadline ? PutOff(now) : Next(now);
}

}  // namespace exo::node
