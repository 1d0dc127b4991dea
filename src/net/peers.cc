#include "net/peers.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <unordered_map>
#include <utility>

#include "base/log.h"
#include "net/admission.h"
#include "net/connector.h"
#include "net/session.h"
#include "sys/files.h"
#include "sys/system.h"

namespace exo::net {
namespace {

using wire::HelloReply;
using wire::RefusalCode;

// Full mesh is meant for homes; more would need another membership protocol.
constexpr size_t kMaxPeers = 64;
// Sessions of all kinds, hand-overs and refusals included.
constexpr size_t kMaxSessions = kMaxPeers + 2 * Admission::kAtOnce;
// A session that was heard within this time is alive; heartbeats come every second.
constexpr Time kFresh = std::chrono::milliseconds(1500);

HelloReply Refusal(RefusalCode code, std::string reason) {
  return {.code = code, .reason = std::move(reason)};
}

Connector::Outcome OutcomeOf(RefusalCode refusal) {
  if (refusal == RefusalCode::kDuplicate) return Connector::Outcome::kSame;
  // A restarted peer may only have to wait until its old session is given up.
  if (refusal == RefusalCode::kKeyInUse) return Connector::Outcome::kFailed;
  return Connector::Outcome::kRefused;
}

class PeersImpl final : public Peers, private Session::Host, private Connector::Host {
 public:
  PeersImpl(EventLoop& loop, const Identity& identity, std::shared_ptr<const ClusterSecret> secret,
            TrustStore& trust, PeerEvents& events, PeersOptions options, Fd listener)
      : loop_(loop),
        identity_(identity),
        secret_(std::move(secret)),
        trust_(trust),
        events_(events),
        options_(std::move(options)),
        listener_(std::move(listener)),
        accept_pause_(loop),
        leave_limit_(loop),
        connector_(loop, *this, options_.bind) {
    options_.port = LocalAddress(listener_.get()).port;
    options_.self.listen_port = options_.port;
    options_.self.channel = wire::Channel::kControl;
    options_.self.proof.clear();
    watch_ = std::make_unique<FdWatch>(loop_, listener_.get());
    watch_->OnReadable([this] { Accept(); });
  }
  ~PeersImpl() override { *alive_ = false; }

  uint16_t port() const override { return options_.port; }
  Result<void> AddStaticPeer(std::string_view host_port) override;
  void AddHint(const wire::Address& address) override { connector_.AddHint(address, std::nullopt); }
  void AddHint(const NodeId& id, const std::vector<wire::Address>& addresses) override;
  bool Send(const NodeId& id, const wire::Message& message) override;
  void Close(const NodeId& id, std::string_view reason) override;
  void Revoke(const NodeId& id) override;
  void SetSecret(std::shared_ptr<const ClusterSecret> secret) override {
    secret_ = std::move(secret);
    connector_.RetryRefused();
  }
  void Leave(std::function<void()> done) override;
  bool IsUp(const NodeId& id) const override { return up_.contains(id); }
  std::vector<NodeId> Up() const override;
  std::vector<wire::Address> AddressesOf(const NodeId& id) const override;
  std::optional<Path> PathOf(const NodeId& id) const override {
    const auto at = up_.find(id);
    if (at == up_.end()) return std::nullopt;
    return Path{at->second->local().host, at->second->remote().host};
  }
  wire::Hello LinkHello(wire::Channel channel, const PlanId& plan) const override;

 private:
  // Session::Host
  bool OnKey(Session& session) override;
  std::optional<HelloReply> CheckMember(Session& session, bool proven) override;
  std::optional<HelloReply> Decide(Session& session, const wire::Hello& hello) override;
  void OnAccepted(Session& session) override;
  void OnLinkReady(Session& session, std::unique_ptr<DataLink> link) override;
  void OnMessage(Session& session, wire::Message message) override;
  void OnEnd(Session& session, Session::Phase was, const std::string& reason) override;
  // Connector::Host
  void OnConnected(Fd fd, const wire::Address& key) override;

  void Accept();
  Session& Add(Fd fd, std::optional<wire::Address> target);
  std::optional<HelloReply> DecideControl(Session& session, const wire::Hello& hello);
  std::optional<HelloReply> DecideAgainst(const Session& old, const Session& fresh,
                                          const wire::Hello& hello);
  Session* Pending(const NodeId& id);
  void LeaveAdmission(Session& session);
  void DeferDelete(Session& session);
  void EndUp(Session& session, std::string_view reason);
  void ReportDowns();
  void EndLeave(Time delay);
  void Report(const Session& session);

  EventLoop& loop_;
  const Identity& identity_;
  std::shared_ptr<const ClusterSecret> secret_;
  TrustStore& trust_;
  PeerEvents& events_;
  PeersOptions options_;
  Fd listener_;
  std::unique_ptr<FdWatch> watch_;
  Timer accept_pause_;
  Timer leave_limit_;
  bool leaving_ = false;        // Leave was called
  std::function<void()> left_;  // to be called when all have closed
  Admission admission_;
  std::map<const Session*, std::string>
      admitted_;  // sessions that hold a place in admission_, their source
  Connector connector_;
  std::map<const Session*, std::unique_ptr<Session>> sessions_;
  std::unordered_map<NodeId, Session*> up_;
  std::vector<std::unique_ptr<Session>> pending_deletes_;
  struct Down {
    NodeId id;
    std::string reason;
    bool left = false;  // it said goodbye
  };
  std::vector<Down> downs_;  // OnDown calls that are due
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// ---- outside calls

Result<void> PeersImpl::AddStaticPeer(std::string_view host_port) {
  connector_.AddStatic(TRY(ParseHostPort(host_port, 0)));
  return {};
}

void PeersImpl::AddHint(const NodeId& id, const std::vector<wire::Address>& addresses) {
  if (id == identity_.id() || trust_.IsRevoked(id)) return;
  for (const wire::Address& address : addresses) connector_.AddHint(address, id);
}

bool PeersImpl::Send(const NodeId& id, const wire::Message& message) {
  const auto at = up_.find(id);
  if (at == up_.end()) return false;
  if (at->second->Send(message)) return true;
  if (leaving_) return false;
  EndUp(*at->second, "the peer does not take its messages: the queue is full");
  return false;
}

void PeersImpl::Close(const NodeId& id, std::string_view reason) {
  const auto at = up_.find(id);
  if (at != up_.end()) EndUp(*at->second, reason);
}

void PeersImpl::Revoke(const NodeId& id) {
  Close(id, "revoked");
  connector_.Forget(id);
  std::vector<Session*> found;
  for (const auto& [key, session] : sessions_) {
    if (session->peer() == id) found.push_back(session.get());
  }
  for (Session* session : found) {
    session->Abort();
    if (session->target())
      connector_.Finished(*session->target(), Connector::Outcome::kRefused, id);
    DeferDelete(*session);
  }
}

void PeersImpl::Leave(std::function<void()> done) {
  leaving_ = true;
  left_ = std::move(done);
  accept_pause_.Cancel();
  watch_.reset();
  listener_.Close();
  connector_.Stop();
  std::vector<Session*> others;
  for (const auto& [key, session] : sessions_) {
    if (session->phase() == Session::Phase::kUp) {
      session->CloseWhenSent();
    } else if (!session->refusal()) {
      others.push_back(session.get());
    }
  }
  for (Session* session : others) {
    session->Abort();
    DeferDelete(*session);
  }
  EndLeave(up_.empty() ? Time(0) : kLeaveLimit);
}

void PeersImpl::EndLeave(Time delay) {
  leave_limit_.Start(delay, [this] {
    if (auto done = std::exchange(left_, nullptr)) done();
  });
}

std::vector<NodeId> PeersImpl::Up() const {
  std::vector<NodeId> ids;
  for (const auto& [id, session] : up_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  return ids;
}

std::vector<wire::Address> PeersImpl::AddressesOf(const NodeId& id) const {
  std::vector<wire::Address> addresses = connector_.AddressesOf(id);
  const auto at = up_.find(id);
  if (at == up_.end()) return addresses;
  const wire::Address now{at->second->remote().host, at->second->hello().listen_port};
  std::erase(addresses, now);
  addresses.insert(addresses.begin(), now);
  return addresses;
}

wire::Hello PeersImpl::LinkHello(wire::Channel channel, const PlanId& plan) const {
  wire::Hello hello = options_.self;
  hello.channel = channel;
  hello.plan = plan;
  return hello;
}

// ---- new connections

void PeersImpl::Accept() {
  constexpr int kPerTurn = 32;
  for (int i = 0; i < kPerTurn; ++i) {
    Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.valid()) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        LOG(kWarning, "cannot accept connections: {}", std::strerror(errno));
        accept_pause_.Start(std::chrono::milliseconds(100), [this] { Accept(); });
        return;
      }
      if (errno == EAGAIN) break;
      continue;  // that connection is gone already
    }
    const std::string source = RemoteAddress(fd.get()).host;
    if (source.empty() || sessions_.size() >= kMaxSessions || !admission_.Enter(source, sys::Now()))
      continue;
    Session& session = Add(std::move(fd), std::nullopt);
    admitted_.emplace(&session, source);
  }
  watch_->OnReadable([this] { Accept(); });
}

void PeersImpl::OnConnected(Fd fd, const wire::Address& key) {
  Add(std::move(fd), key);
}

Session& PeersImpl::Add(Fd fd, std::optional<wire::Address> target) {
  SetControlOptions(fd.get());
  const Session::Setup setup{loop_, identity_, secret_, options_.pairing, *this};
  auto session = std::make_unique<Session>(setup, std::move(fd), options_.self, std::move(target));
  Session& added = *session;
  sessions_.emplace(&added, std::move(session));
  added.Start();
  return added;
}

// ---- decisions

bool PeersImpl::OnKey(Session& session) {
  if (session.peer() == identity_.id()) {
    if (!session.initiated()) return false;
    const bool self =
        session.remote().port == options_.port && session.remote().host == session.local().host;
    if (!self) {
      events_.OnRefused({session.remote(), session.peer(), RefusalCode::kKeyInUse,
                         "another device uses this device's key (a copied data folder?): delete "
                         "key.pem on one of them",
                         false, session.peer_protocols()});
    }
    connector_.Finished(*session.target(),
                        self ? Connector::Outcome::kSelf : Connector::Outcome::kRefused,
                        std::nullopt);
    return false;
  }
  return !(session.initiated() && IsUp(session.peer()));
}

std::optional<HelloReply> PeersImpl::CheckMember(Session& session, bool proven) {
  if (trust_.IsRevoked(session.peer())) {
    return Refusal(RefusalCode::kNotMember,
                   "this device was removed from the cluster; to join again it needs a new key: "
                   "exo rotate-key on it");
  }
  if (proven || trust_.IsTrusted(session.peer())) return std::nullopt;
  return Refusal(RefusalCode::kNotMember,
                 "not a member of the same cluster: run `exo invite` on one device and `exo join` "
                 "on the other");
}

std::optional<HelloReply> PeersImpl::Decide(Session& session, const wire::Hello& hello) {
  if (hello.channel == wire::Channel::kControl) return DecideControl(session, hello);
  if (session.initiated() || !trust_.IsTrusted(session.peer())) {
    return Refusal(RefusalCode::kNotMember, "data links are for members only");
  }
  if (events_.WantsLink(session.peer(), hello)) return std::nullopt;
  return Refusal(RefusalCode::kUnknownPlan, "no such instance runs here");
}

Session* PeersImpl::Pending(const NodeId& id) {
  for (const auto& [key, session] : sessions_) {
    if (session->phase() == Session::Phase::kPending && session->peer() == id) return session.get();
  }
  return nullptr;
}

// One session per pair. An initiator never accepts while it has a session or another pending one,
// so a listener that gets an acceptance knows that the peer has no session. When both connect at
// once, the connection of the lower id stays: its initiator refuses the other one, the other side
// drops its own.
std::optional<HelloReply> PeersImpl::DecideControl(Session& session, const wire::Hello& hello) {
  const NodeId& peer = session.peer();
  const auto up = up_.find(peer);
  Session* pending = Pending(peer);
  if (session.initiated()) {
    if (up == up_.end() && pending == nullptr) return std::nullopt;
    return Refusal(RefusalCode::kDuplicate, "there is a session already");
  }
  if (up != up_.end()) {
    if (auto refusal = DecideAgainst(*up->second, session, hello)) return refusal;
  } else if (up_.size() >= kMaxPeers) {
    return Refusal(RefusalCode::kBusy,
                   fmt::format("{} devices are connected, which is the most", kMaxPeers));
  }
  if (pending == nullptr) return std::nullopt;
  if (identity_.id() < peer)
    return Refusal(RefusalCode::kDuplicate, "both sides connected at once");
  pending->Abort();
  connector_.Finished(*pending->target(), Connector::Outcome::kSame, peer);
  DeferDelete(*pending);
  return std::nullopt;
}

std::optional<HelloReply> PeersImpl::DecideAgainst(const Session& old, const Session& fresh,
                                                   const wire::Hello& hello) {
  const Time now = sys::Now();
  if (hello.boot_nonce != old.hello().boot_nonce) {
    // A restart, whose old session is silent; or a copy of the key while the original still talks.
    if (now - old.last_heard() >= kFresh) return std::nullopt;
    return Refusal(RefusalCode::kKeyInUse,
                   "a device with the same key is connected (a copied data folder?): delete "
                   "key.pem on one of them");
  }
  // The peer's acceptance crossed ours: ours is that of the lower id and stays.
  if (old.initiated() && identity_.id() < fresh.peer() &&
      now - old.up_since() < Session::kHandshakeTimeout) {
    return Refusal(RefusalCode::kDuplicate, "both sides connected at once");
  }
  return std::nullopt;  // the peer has lost the old one
}

// ---- life of a session

void PeersImpl::OnAccepted(Session& session) {
  const NodeId id = session.peer();
  LeaveAdmission(session);
  const auto old = up_.find(id);
  if (old != up_.end()) EndUp(*old->second, "replaced by a new connection");
  ReportDowns();
  if (!trust_.IsTrusted(id)) trust_.Admit(id, session.hello().name);
  up_[id] = &session;
  const wire::Address address{session.remote().host, session.hello().listen_port};
  if (session.target()) connector_.Finished(*session.target(), Connector::Outcome::kUp, id);
  if (address.port != 0) connector_.Moved(id, address);
  events_.OnUp(id, session.hello(), address);
}

void PeersImpl::OnLinkReady(Session& session, std::unique_ptr<DataLink> link) {
  LeaveAdmission(session);
  const NodeId id = session.peer();
  const wire::Hello hello = session.hello();
  DeferDelete(session);
  events_.OnLink(std::move(link), id, hello);
}

void PeersImpl::OnMessage(Session& session, wire::Message message) {
  events_.OnMessage(session.peer(), std::move(message));
}

void PeersImpl::OnEnd(Session& session, Session::Phase was, const std::string& reason) {
  if (was == Session::Phase::kUp) return EndUp(session, reason);
  if (session.refusal()) {
    Report(session);
  } else if (session.target()) {
    // Only now is it known that the other connection won.
    const bool same =
        !session.peer().IsZero() && session.peer() != identity_.id() && IsUp(session.peer());
    LOG(kDebug, "connecting to {} port {}: {}", session.remote().host, session.remote().port,
        reason);
    connector_.Finished(*session.target(),
                        same ? Connector::Outcome::kSame : Connector::Outcome::kFailed,
                        session.peer());
  }
  DeferDelete(session);
}

void PeersImpl::Report(const Session& session) {
  const HelloReply& refusal = *session.refusal();
  if (session.target())
    connector_.Finished(*session.target(), OutcomeOf(refusal.code), session.peer());
  if (refusal.code == RefusalCode::kDuplicate) return;  // crossing connections are no news
  events_.OnRefused({session.remote(), session.peer(), refusal.code, refusal.reason,
                     session.refused_by_peer(), session.peer_protocols()});
}

void PeersImpl::EndUp(Session& session, std::string_view reason) {
  const NodeId id = session.peer();
  session.Abort();
  up_.erase(id);
  DeferDelete(session);
  downs_.push_back({id, std::string(reason), session.said_goodbye()});
  if (leaving_ && up_.empty()) EndLeave(Time(0));
  loop_.Post([this, alive = alive_] {
    if (*alive) ReportDowns();
  });
}

void PeersImpl::ReportDowns() {
  for (const Down& down : std::exchange(downs_, {})) {
    events_.OnDown(down.id, down.reason);
    if (leaving_ || trust_.IsRevoked(down.id)) continue;
    // Whoever has just left still listens for a moment: connecting at once would revive it.
    down.left ? connector_.OnLeft(down.id) : connector_.OnDown(down.id);
  }
}

void PeersImpl::LeaveAdmission(Session& session) {
  const auto at = admitted_.find(&session);
  if (at == admitted_.end()) return;
  admission_.Done(at->second);
  admitted_.erase(at);
}

// Sessions die from the loop, since they may be on the call stack now.
void PeersImpl::DeferDelete(Session& session) {
  LeaveAdmission(session);
  const auto at = sessions_.find(&session);
  if (at == sessions_.end()) return;
  pending_deletes_.push_back(std::move(at->second));
  sessions_.erase(at);
  if (pending_deletes_.size() > 1) return;
  loop_.Post([this, alive = alive_] {
    if (*alive) pending_deletes_.clear();
  });
}

}  // namespace

Result<std::unique_ptr<Peers>> Peers::Start(EventLoop& loop, const Identity& identity,
                                            std::shared_ptr<const ClusterSecret> secret,
                                            TrustStore& trust, PeerEvents& events,
                                            PeersOptions options) {
  auto listener = Listen(options.bind, options.port);
  if (!listener) {
    return Fail(listener.error().code,
                "{}; other devices connect there: choose another port with --port (0: any free "
                "one), or end what has it",
                listener.error().message);
  }
  return std::make_unique<PeersImpl>(loop, identity, std::move(secret), trust, events,
                                     std::move(options), *std::move(listener));
}

}  // namespace exo::net
