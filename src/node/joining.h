// This node's search for the device that invites it: calls the address that the user named, or one
// after the other those that discovery hears of, until one knows the code.
//
// Thread: loop; the calls block in jobs. Owner: NodeImpl.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "net/event_loop.h"
#include "net/pair_call.h"
#include "node/jobs.h"
#include "node/pairing.h"

namespace exo::node {

class Joining {
 public:
  struct Found {
    JoinView inviter;
    wire::Address address;
    wire::TrustUpdate grant;
  };
  using Done = std::function<void(Result<Found>)>;

  // `name`: of this device. `done` is called once, never from inside this constructor, and may
  // destroy the object.
  Joining(net::EventLoop& loop, Jobs& jobs, std::shared_ptr<const net::Identity> identity,
          std::string name, Done done);

  // `compared`: the key that an earlier call without a code has shown to the user; another one is
  // shown first. Errors: kInvalid: the code or the address is none; nothing has begun then.
  Result<void> Begin(const JoinRequest& request, const std::optional<NodeId>& compared);
  // The key that a call without a code has met.
  const std::optional<NodeId>& asked() const { return asked_; }
  // Discovery has heard of a device of another cluster.
  void OnFound(const wire::Address& address);
  // It looks for addresses by itself, so discovery should announce anew.
  bool searches() const { return searches_; }

 private:
  // A code that is wrong at so many devices is not tried at others: each may be an impostor with
  // one guess.
  static constexpr int kMaxWrong = 3;
  static constexpr size_t kMaxCalls = 64;

  void Next();
  void CallOne(const wire::Address& address);
  void OnOutcome(const wire::Address& address, Result<net::PairOutcome> outcome);
  void OnRefused(const wire::Address& address, const wire::PairRefused& refusal,
                 const NodeId& peer);
  void OnGrant(const wire::Address& address, net::PairOutcome outcome);
  void GiveUp();
  void Finish(Result<Found> result);

  net::EventLoop& loop_;
  Jobs& jobs_;
  const std::shared_ptr<const net::Identity> identity_;
  Done done_;
  net::PairJoiner::Ask ask_;
  std::optional<NodeId> compared_;
  std::optional<NodeId> asked_;
  bool searches_ = false;
  std::deque<wire::Address> queue_;
  std::set<wire::Address> called_;
  std::vector<NodeId> answered_;  // a device has several addresses, and one try
  bool calling_ = false;
  int wrong_ = 0;
  Error last_;  // why there is no result so far
  net::Timer limit_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

 public:
  ~Joining() { *alive_ = false; }
};

}  // namespace exo::node
