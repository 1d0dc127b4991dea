// What is sent back: a message, or the events of one (docs of the Messages API, "streaming").
#pragma once

#include <memory>
#include <string>

#include "service/encoder.h"

namespace exo::service::anthropic {

struct EncoderOptions {
  std::string model;  // as the client wrote it
  bool stream = false;
};
std::unique_ptr<Encoder> MakeEncoder(EncoderOptions options);

}  // namespace exo::service::anthropic
