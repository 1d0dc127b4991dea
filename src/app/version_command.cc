#include "app/version_command.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "app/output.h"
#include "kernels/kernels.h"
#include "kernels/numerics.h"
#include "node/version.h"
#include "wire/messages.h"

namespace exo::app {
namespace {

constexpr const char* kCompiler =
#ifdef __clang__
    __VERSION__;
#else
    "GCC " __VERSION__;
#endif

}  // namespace

std::string VersionText(bool as_json) {
  // The reference kernels are everywhere.
  const kernels::Kernels& best = **kernels::ChooseKernels("");
  const std::string numerics = kernels::ComputeNumericsId(best).Hex();
  const std::string isa(kernels::IsaName(best.isa()));
  if (as_json) {
    return ToText({{"version", node::kVersion},
                   {"protocol", wire::kProtocolVersion},
                   {"protocol_oldest", wire::kProtocolOldest},
                   {"numerics", numerics},
                   {"compiler", kCompiler},
                   {"isa", isa}});
  }
  return fmt::format(
      "exo {}\n  protocol      {} (speaks {} to {})\n  numerics      {}\n  compiler      {}\n  "
      "instructions  {}",
      node::kVersion, wire::kProtocolVersion, wire::kProtocolOldest, wire::kProtocolVersion,
      numerics, kCompiler, isa);
}

}  // namespace exo::app
