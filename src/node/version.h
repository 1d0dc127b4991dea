// The program's version, shown to users and exchanged in the handshake.
#pragma once

namespace exo::node {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace exo::node
