// Helpers of the tests of net: a node with a loop in its own thread, that writes down what happens
// to it.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "net/peers.h"
#include "sys/system.h"

namespace exo::net::test {

inline Time In(int milliseconds) {
  return sys::Now() + std::chrono::milliseconds(milliseconds);
}
// Of a wait for what comes at once, unless other programs hold it up.
inline constexpr Time kPatience = std::chrono::seconds(60);
inline Time Patiently() {
  return sys::Now() + kPatience;
}

// A loop with its thread.
class LoopThread {
 public:
  LoopThread() : thread_([this] { loop_.Run(); }) {}
  ~LoopThread() {
    loop_.Stop();
    thread_.join();
  }
  EventLoop& loop() { return loop_; }
  // Runs `work` on the loop and waits for it.
  template <class Work>
  auto On(Work work) {
    std::packaged_task<decltype(work())()> task(std::move(work));
    auto done = task.get_future();
    loop_.Post([&task] { task(); });
    return done.get();
  }

 private:
  EventLoop loop_;
  std::thread thread_;
};

class FakeTrust final : public TrustStore {
 public:
  bool IsTrusted(const NodeId& id) const override {
    return trusted.contains(id) && !revoked.contains(id);
  }
  bool IsRevoked(const NodeId& id) const override { return revoked.contains(id); }
  void Admit(const NodeId& id, std::string_view) override {
    trusted.insert(id);
    ++admitted;
  }
  std::set<NodeId> trusted, revoked;
  int admitted = 0;
};

struct NodeOptions {
  std::string name = "node";
  std::string secret;  // text form; empty: none
  NumericsId numerics;
  wire::Protocols protocols = wire::kProtocols;
  uint64_t boot_nonce = 1;
  uint16_t port = 0;
  std::string bind = "127.0.0.1";
  PairInviter::Gate* pairing = nullptr;
};

class TestNode final : public PeerEvents {
 public:
  explicit TestNode(const NodeOptions& options, std::unique_ptr<Identity> identity = nullptr) {
    identity_ = identity ? std::move(identity) : *Identity::Create();
    if (!options.secret.empty()) secret_ = *ClusterSecret::Parse(options.secret);
    PeersOptions peers{.bind = options.bind, .port = options.port, .pairing = options.pairing};
    peers.self.name = options.name;
    peers.self.version = "test";
    peers.self.numerics = options.numerics;
    peers.self.protocols = options.protocols;
    peers.self.boot_nonce = options.boot_nonce;
    thread_.On([&] {
      auto started = Peers::Start(thread_.loop(), *identity_, secret_, trust, *this, peers);
      ASSERT_TRUE(started) << started.error().message;
      peers_ = std::move(*started);
    });
  }
  ~TestNode() override {
    thread_.On([&] { peers_.reset(); });
  }

  const NodeId& id() const { return identity_->id(); }
  const Identity& identity() const { return *identity_; }
  wire::Address address() const { return {"127.0.0.1", peers_->port()}; }
  LoopThread& thread() { return thread_; }
  Peers& peers() { return *peers_; }  // on its loop only
  void Connect(const TestNode& other) {
    thread_.On([&] { peers_->AddHint(other.address()); });
  }
  bool IsUp(const NodeId& other) {
    return thread_.On([&] { return peers_->IsUp(other); });
  }
  bool Send(const NodeId& to, const wire::Message& message) {
    return thread_.On([&] { return peers_->Send(to, message); });
  }

  // Waits until `ready` (called with the lock held), patiently.
  bool Wait(const std::function<bool()>& ready) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    const MutexLock lock(mutex);
    while (!ready()) {
      if (!changed.WaitUntil(mutex, deadline)) return ready();
    }
    return true;
  }
  bool WaitUp(const NodeId& other) {
    return Wait([&] { return ups[other] > downs[other]; });
  }

  // What happened; under `mutex`.
  Mutex mutex;
  CondVar changed;
  std::map<NodeId, int> ups, downs;
  std::map<NodeId, wire::Hello> hellos;
  std::map<NodeId, std::string> reasons;
  std::vector<wire::Message> messages;
  std::vector<Refused> refusals;
  std::vector<std::unique_ptr<DataLink>> links;
  bool wants_links = true;
  FakeTrust trust;  // on the loop only, or before anything connects

 private:
  template <class Change>
  void Note(Change change) {
    const MutexLock lock(mutex);
    change();
    changed.NotifyAll();
  }
  void OnUp(const NodeId& id, const wire::Hello& hello, const wire::Address&) override {
    Note([&] {
      ++ups[id];
      hellos[id] = hello;
    });
  }
  void OnDown(const NodeId& id, const std::string& reason) override {
    Note([&] {
      ++downs[id];
      reasons[id] = reason;
    });
  }
  void OnMessage(const NodeId&, wire::Message message) override {
    Note([&] { messages.push_back(std::move(message)); });
  }
  void OnRefused(const Refused& refused) override {
    Note([&] { refusals.push_back(refused); });
  }
  bool WantsLink(const NodeId&, const wire::Hello&) override { return wants_links; }
  void OnLink(std::unique_ptr<DataLink> link, const NodeId&, const wire::Hello&) override {
    Note([&] { links.push_back(std::move(link)); });
  }

  std::unique_ptr<Identity> identity_;
  std::shared_ptr<const ClusterSecret> secret_;
  LoopThread thread_;
  std::unique_ptr<Peers> peers_;
};

inline std::string NewSecret() {
  return ClusterSecret::Create()->Text();
}

}  // namespace exo::net::test
