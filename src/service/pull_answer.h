// The answer to a pull: the model's way here, told as it comes or once at the end, in a dialect's
// words. The client that goes away ends the pull, unless another waits for it.
//
// Thread: the event loop.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "node/api.h"
#include "service/errors.h"
#include "service/http/dialect.h"

namespace exo::service {

// What a dialect makes of a pull.
class PullEncoder {
 public:
  virtual ~PullEncoder() = default;
  // How the answer is streamed; none: it goes out whole.
  virtual std::optional<StreamFormat> format() const = 0;
  virtual std::string Add(const node::PullProgress& progress) = 0;
  // The last bytes of a stream, or the body of a whole answer (application/json).
  virtual std::string Done(const std::string& name) = 0;
  virtual std::string FailMidStream(const ApiError& error) = 0;
  virtual HttpResponse Fail(const ApiError& error) = 0;
};

// What a pull route's `read` returns. `api` must outlive the server.
Action PullModel(node::Api& api, std::string model, std::unique_ptr<PullEncoder> encoder);

}  // namespace exo::service
