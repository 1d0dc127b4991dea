#include "node/joining.h"

#include <utility>

#include "base/log.h"
#include "net/invitation.h"
#include "net/socket.h"
#include "sys/system.h"

namespace exo::node {
namespace {

// An inviting device answers announcements at once, and this one sends three in 3 s.
constexpr Time kSearchFor = std::chrono::seconds(6);
constexpr Time kCallLimit = std::chrono::seconds(8);

}  // namespace

Joining::Joining(net::EventLoop& loop, Jobs& jobs, std::shared_ptr<const net::Identity> identity,
                 std::string name, Done done)
    : loop_(loop),
      jobs_(jobs),
      identity_(std::move(identity)),
      done_(std::move(done)),
      limit_(loop) {
  ask_.name = std::move(name);
}

Result<void> Joining::Begin(const JoinRequest& request, const std::optional<NodeId>& compared) {
  compared_ = compared;
  last_ = {ErrorCode::kNotFound,
           "no device was found that invites: run `exo invite` there first; where devices do not "
           "hear each other, name its address with --at HOST:PORT (exo up shows the port)"};
  std::string at = request.at;
  if (net::LooksLikeInviteLink(request.code)) {
    const net::InviteLink link = TRY(net::ParseInviteLink(request.code));
    ask_.kind = wire::PairKind::kLink;
    ask_.code = link.secret;
    if (at.empty()) queue_.push_back(link.address);
  } else if (request.code.empty()) {
    ask_.kind = wire::PairKind::kAsk;
    if (at.empty()) {
      return Fail(ErrorCode::kInvalid,
                  "to ask without a code, name the address of a device: --at HOST:PORT");
    }
  } else {
    ask_.code = TRY(net::ParsePairCode(request.code));
  }
  if (!at.empty()) queue_.push_back(TRY(net::ParseHostPort(at, 0)));
  searches_ = queue_.empty();
  limit_.Start(kSearchFor, [this] { GiveUp(); });
  loop_.Post([this, alive = alive_] {
    if (*alive) Next();
  });
  return {};
}

void Joining::OnFound(const wire::Address& address) {
  if (!searches_ || called_.size() >= kMaxCalls || called_.contains(address)) return;
  queue_.push_back(address);
  Next();
}

void Joining::Next() {
  if (calling_ || done_ == nullptr) return;
  if (!queue_.empty()) {
    const wire::Address address = queue_.front();
    queue_.pop_front();
    if (called_.insert(address).second) return CallOne(address);
    return Next();
  }
  // A wrong code is known at once; another device may still be the right one, if one was found.
  if (!searches_ || wrong_ > 0) Finish(std::unexpected(last_));
}

// A name is resolved and its addresses are called in turn.
void Joining::CallOne(const wire::Address& address) {
  calling_ = true;
  const auto call = [identity = identity_, address, ask = ask_,
                     answered = answered_](const std::atomic<bool>&) -> Result<net::PairOutcome> {
    std::vector<wire::Address> addresses = {address};
    if (!net::IsNumericAddress(address.host)) addresses = net::Resolve(address.host, address.port);
    if (addresses.empty())
      return Fail(ErrorCode::kNotFound, "{}: there is no such host", address.host);
    Result<net::PairOutcome> outcome = Fail(ErrorCode::kDisconnected, "not called");
    for (const wire::Address& one : addresses) {
      outcome = net::CallToPair(
          *identity,
          {.address = one, .ask = ask, .known = answered, .deadline = sys::Now() + kCallLimit});
      if (outcome) break;
    }
    return outcome;
  };
  const bool begun = jobs_.Run(Jobs::Class::kNet, {}, call,
                               [this, alive = alive_, address](Result<net::PairOutcome> outcome) {
                                 if (*alive) OnOutcome(address, std::move(outcome));
                               });
  if (!begun) Finish(Fail(ErrorCode::kOverloaded, "too much is going on at once: try again"));
}

void Joining::OnOutcome(const wire::Address& address, Result<net::PairOutcome> outcome) {
  calling_ = false;
  if (!outcome) {
    LOG(kInfo, "joining: {} port {}: {}", address.host, address.port, outcome.error().message);
    if (!searches_) last_ = outcome.error();
    return Next();
  }
  if (outcome->refusal) return OnRefused(address, *outcome->refusal, outcome->peer);
  OnGrant(address, *std::move(outcome));
}

void Joining::OnGrant(const wire::Address& address, net::PairOutcome outcome) {
  // Without a code nothing but the user says whose key it is.
  if (ask_.kind == wire::PairKind::kAsk && compared_ != outcome.peer) {
    asked_ = outcome.peer;
    return Finish(Fail(ErrorCode::kCancelled,
                       "the device {} lets this one in; if `exo devices` there shows this id for "
                       "itself, ask again",
                       outcome.peer.Hex().substr(0, 16)));
  }
  Found found{
      .inviter = {.id = outcome.peer}, .address = address, .grant = std::move(outcome.trust)};
  for (const wire::TrustEntry& entry : found.grant.entries) {
    if (entry.id == outcome.peer) found.inviter.name = entry.name;
  }
  Finish(std::move(found));
}

void Joining::OnRefused(const wire::Address& address, const wire::PairRefused& refusal,
                        const NodeId& peer) {
  LOG(kInfo, "peer={}: joining at {} port {}: refused: {}", peer.Short(), address.host,
      address.port, refusal.reason);
  answered_.push_back(peer);
  const auto because = [&](ErrorCode code) { last_ = {code, refusal.reason}; };
  switch (refusal.code) {
    case wire::PairRefusal::kWrongCode:
      because(ErrorCode::kInvalid);
      if (++wrong_ >= kMaxWrong) return Finish(std::unexpected(last_));
      break;
    case wire::PairRefusal::kForgotten:
      because(ErrorCode::kInvalid);
      break;
    case wire::PairRefusal::kBusy:
      because(ErrorCode::kOverloaded);
      break;
    case wire::PairRefusal::kPending:
      asked_ = peer;
      last_ = {ErrorCode::kCancelled,
               fmt::format("asked the device {} (compare: exo devices there); on it, run: exo "
                           "approve {}; then ask again",
                           peer.Hex().substr(0, 16), identity_->id().Hex().substr(0, 16))};
      break;
    case wire::PairRefusal::kNotInviting:
      if (!searches_) because(ErrorCode::kNotFound);
      break;
  }
  Next();
}

void Joining::GiveUp() {
  if (calling_) {
    searches_ = false;  // the last call decides
    return;
  }
  Finish(std::unexpected(last_));
}

void Joining::Finish(Result<Found> result) {
  limit_.Cancel();
  if (auto done = std::exchange(done_, nullptr)) {
    loop_.Post([done = std::move(done), result = std::move(result), alive = alive_]() mutable {
      if (*alive) done(std::move(result));
    });
  }
}

}  // namespace exo::node
