// Waits for one answer of the node and sends it; destroyed before (the client went away), the
// answer finds nobody.
//
// Thread: the event loop.
#pragma once

#include <functional>
#include <memory>

#include "service/errors.h"
#include "service/http/dialect.h"
#include "service/json.h"

namespace exo::service {

class Waiting final : public Handler {
 public:
  using Failure = std::function<HttpResponse(const Error&)>;
  Waiting(Exchange& exchange, Failure failure)
      : exchange_(exchange), failure_(std::move(failure)), alive_(std::make_shared<char>()) {}

  // Wraps render(value) -> HttpResponse or Json into a callback for the node.
  template <class T, class Render>
  std::function<void(Result<T>)> Callback(Render render) {
    return [this, alive = std::weak_ptr<char>(alive_), render](Result<T> result) {
      if (alive.expired()) return;
      alive_.reset();
      if (!result) return exchange_.Send(failure_(result.error()));
      if constexpr (std::is_same_v<std::invoke_result_t<Render, T&>, HttpResponse>) {
        exchange_.Send(render(*result));
      } else {
        exchange_.Send({.body = Dump(render(*result))});
      }
    };
  }
  // For requests whose answer is only that they were done.
  std::function<void(Result<void>)> Done(HttpResponse response) {
    return [done = Callback<bool>([response = std::move(response)](bool) { return response; })](
               Result<void> result) {
      done(result ? Result<bool>(true) : Result<bool>(std::unexpected(result.error())));
    };
  }

 private:
  Exchange& exchange_;
  const Failure failure_;
  std::shared_ptr<char> alive_;
};

// What a route's `read` returns when the node answers once: ask(waiting) runs on the loop.
template <class Ask>
Action AskNode(Waiting::Failure failure, Ask ask) {
  return [failure = std::move(failure),
          ask = std::move(ask)](Exchange& exchange) mutable -> std::unique_ptr<Handler> {
    auto waiting = std::make_unique<Waiting>(exchange, std::move(failure));
    ask(*waiting);
    return waiting;
  };
}

// For routes whose answer is there at once.
inline Action AnswerNow(std::function<HttpResponse()> response) {
  return [response = std::move(response)](Exchange& exchange) -> std::unique_ptr<Handler> {
    exchange.Send(response());
    return nullptr;
  };
}

}  // namespace exo::service
