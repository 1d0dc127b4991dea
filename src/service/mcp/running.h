// The answers that are being computed for MCP's clients, by the request that asked for each: so
// that a client can say in another request that it does not want one any more.
//
// A session is a name that a client got with `initialize` and sends with what follows; it holds
// nothing. Two clients with one key are told apart by it, since both count their requests from 0.
//
// Thread: the event loop.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "service/answer.h"

namespace exo::service::mcp {

struct CallName {
  uint64_t key = 0;  // the caller's
  std::string session;
  std::string id;  // of the request, as JSON
  auto operator<=>(const CallName&) const = default;
};

class Running {
 public:
  // The handler of an answer, which can be cancelled by its name as long as it lives. An answer
  // without a session cannot: nobody knows whose its id is.
  static std::unique_ptr<Handler> Keep(const std::shared_ptr<Running>& running, CallName name,
                                       std::unique_ptr<Answer> answer);

  void Cancel(const CallName& name);
  void CancelSession(uint64_t key, const std::string& session);

 private:
  friend class RunningCall;
  using Answers = std::multimap<CallName, Answer*>;  // a client may use an id twice
  Answers answers_;
};

}  // namespace exo::service::mcp
