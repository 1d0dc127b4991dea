// Requests and replies over one bulk link, from the side that asks.
//
// Thread: one caller at a time; blocks.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <utility>

#include "base/result.h"
#include "engine/data_link.h"
#include "net/connect_link.h"
#include "net/identity.h"
#include "sys/system.h"
#include "wire/messages.h"

namespace exo::node {

class BulkClient {
 public:
  // How long a connection and a reply may take.
  struct Limits {
    Time connect = std::chrono::seconds(5);
    Time reply = std::chrono::seconds(30);
  };
  // Errors: those of net::ConnectLink.
  static Result<std::unique_ptr<BulkClient>> Connect(const net::Identity& identity,
                                                     net::ConnectOptions holder,
                                                     const Limits& limits) {
    holder.deadline = sys::Now() + limits.connect;
    auto client = std::make_unique<BulkClient>();
    client->limits_ = limits;
    client->link_ = TRY(net::ConnectLink(identity, holder));
    return client;
  }
  static Result<std::unique_ptr<BulkClient>> Connect(const net::Identity& identity,
                                                     net::ConnectOptions holder) {
    return Connect(identity, std::move(holder), {});
  }

  // `cancel` may be null. Errors: kDisconnected, kCorrupt, kCancelled.
  template <class Reply>
  Result<Reply> Ask(const wire::Message& question, const std::atomic<bool>* cancel) {
    const Time deadline = sys::Now() + limits_.reply;
    TRY(link_->Send(question, {}, deadline));
    engine::DataLink::Outcome outcome;
    do {
      if (cancel != nullptr && cancel->load()) return Fail(ErrorCode::kCancelled, "stopped");
      outcome = TRY(link_->Poll(std::min(deadline, sys::Now() + kCancelCheck)));
    } while (outcome.event != engine::DataLink::Event::kFrame && sys::Now() < deadline);
    if (outcome.event != engine::DataLink::Event::kFrame) {
      return Fail(ErrorCode::kDisconnected, "a member did not answer in {} s",
                  std::chrono::duration_cast<std::chrono::seconds>(limits_.reply).count());
    }
    Reply* reply = std::get_if<Reply>(outcome.frame.message);
    if (reply == nullptr) {
      return Fail(ErrorCode::kCorrupt, "a member answered with another message");
    }
    return std::move(*reply);
  }

 private:
  static constexpr Time kCancelCheck = std::chrono::milliseconds(50);

  Limits limits_;
  std::unique_ptr<engine::DataLink> link_;
};

}  // namespace exo::node
