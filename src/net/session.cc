#include "net/session.h"

#include <utility>

#include "sys/system.h"

namespace exo::net {

Session::Session(const Setup& setup, Fd fd, wire::Hello hello, std::optional<wire::Address> target)
    : setup_(setup),
      side_(target ? ProofSide::kInitiator : ProofSide::kListener),
      target_(std::move(target)),
      remote_(RemoteAddress(fd.get())),
      local_(LocalAddress(fd.get())),
      own_hello_(std::move(hello)),
      connection_(setup.loop, setup.identity, std::move(fd), side_, *this),
      deadline_(setup.loop) {
  deadline_.Start(kHandshakeTimeout, [this] { End("the handshake took too long"); });
}

void Session::Abort() {
  phase_ = Phase::kEnded;
  deadline_.Cancel();
  connection_.Close();
}

void Session::End(const std::string& reason) {
  const Phase was = phase_;
  if (was == Phase::kEnded) return;
  Abort();
  setup_.host.OnEnd(*this, was, reason);
}

void Session::OnTls() {
  peer_ = connection_.stream().peer();
  phase_ = Phase::kHandshake;
  if (!setup_.host.OnKey(*this)) return End("not needed");
  handshake_.emplace(connection_.stream().channel(), setup_.identity.id(), setup_.secret.get(),
                     own_hello_, static_cast<Handshake::Gate&>(*this));
  SendAll(handshake_->Begin());
}

void Session::SendAll(const std::vector<wire::Message>& messages) {
  for (const wire::Message& message : messages)
    (void)connection_.Send(message);  // cannot overflow: a few small ones
}

void Session::OnFrame(wire::Message message) {
  last_heard_ = sys::Now();
  if (phase_ == Phase::kUp) {
    if (std::holds_alternative<wire::Hello>(message) ||
        std::holds_alternative<wire::HelloReply>(message)) {
      return End("handshake message in a session");
    }
    said_goodbye_ |= std::holds_alternative<wire::Goodbye>(message);
    return setup_.host.OnMessage(*this, std::move(message));
  }
  const bool first = !std::exchange(greeted_, true);
  if (first && !initiated() && setup_.pairing != nullptr &&
      std::holds_alternative<wire::PairStart>(message)) {
    pairing_.emplace(connection_.stream().channel(), setup_.identity.id(), *setup_.pairing);
  }
  if (pairing_) return Pair(message);
  SendAll(handshake_->On(message));
  if (phase_ != Phase::kEnded) AfterHandshake();
}

void Session::Pair(const wire::Message& message) {
  (void)connection_.Send(pairing_->On(message));  // cannot overflow: a few small ones
  if (pairing_->done()) connection_.CloseWhenSent();
}

void Session::AfterHandshake() {
  switch (handshake_->state()) {
    case Handshake::State::kGoing:
      return;
    case Handshake::State::kRefused:
    case Handshake::State::kRefusedByPeer:
      refused_by_peer_ = handshake_->state() == Handshake::State::kRefusedByPeer;
      refusal_ = handshake_->refusal();
      connection_.CloseWhenSent();
      return;
    case Handshake::State::kAccepted:
      break;
  }
  deadline_.Cancel();
  hello_ = handshake_->peer_hello();
  if (hello_.channel != wire::Channel::kControl) {
    phase_ = Phase::kHandover;
    connection_.StopReading();
    return;
  }
  phase_ = Phase::kUp;
  up_since_ = last_heard_ = sys::Now();
  connection_.SetFrameLimit(wire::kMaxControlFrame);
  setup_.host.OnAccepted(*this);
}

void Session::OnSent() {
  if (phase_ != Phase::kHandover) return;
  phase_ = Phase::kEnded;
  setup_.host.OnLinkReady(*this, connection_.Release());
}

void Session::OnClosed(const std::string& reason) {
  End(reason);
}

std::optional<wire::HelloReply> Session::CheckMember(const NodeId&, bool proven) {
  return setup_.host.CheckMember(*this, proven);
}

std::optional<wire::HelloReply> Session::Decide(const NodeId&, const wire::Hello& hello) {
  auto refusal = setup_.host.Decide(*this, hello);
  if (!refusal && initiated()) phase_ = Phase::kPending;
  return refusal;
}

}  // namespace exo::net
