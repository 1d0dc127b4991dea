// What a dialect makes of an answer: typed deltas in, bytes of its wire format out. It knows no
// connection; Answer moves the bytes.
//
// Calls come in this order: Start, any number of Add and of EndPart, then Done or FailMidStream;
// Fail instead of all of them when the request was refused. A whole answer (format() empty)
// collects and returns its body from Done; what its Start and Add return is not sent.
//
// Thread: built on any, used on the event loop. Owner: its Answer.
#pragma once

#include <optional>
#include <string>

#include "node/api.h"
#include "service/http/exchange.h"

namespace exo::service {

class Encoder {
 public:
  virtual ~Encoder() = default;
  // How the answer is streamed; none: it goes out whole.
  virtual std::optional<StreamFormat> format() const = 0;
  virtual std::string Start(const node::StartReport& report) = 0;
  virtual std::string Add(const node::Delta& delta) = 0;
  // The answer to one of several prompts is complete, before Done. Work that grows with the number
  // of prompts belongs here: Done is one turn of the loop.
  virtual void EndPart(size_t part, const node::GenerateStats& stats) {
    (void)part;
    (void)stats;
  }
  // Ends a stream, or is the body of a whole answer (application/json).
  virtual std::string Done(wire::FinishReason reason, const node::GenerateStats& stats) = 0;
  // The response to a request that failed before its stream began.
  virtual HttpResponse Fail(const node::GenerateError& error) = 0;
  // The last bytes of a stream that fails.
  virtual std::string FailMidStream(const node::GenerateError& error) = 0;
};

}  // namespace exo::service
