// The program's version, for people and for the handshake's small talk.
#pragma once

namespace exo::node {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace exo::node
