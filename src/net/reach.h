// Does anything listen at an address? For `exo doctor`.
#pragma once

#include "base/result.h"
#include "base/units.h"
#include "wire/messages.h"

namespace exo::net {

// Connects by TCP and closes at once. Blocks for `patience` at most. Errors: kDisconnected with the
// system's reason, or that nothing answered, as behind a firewall that drops.
Result<void> TryConnect(const wire::Address& address, Time patience);

}  // namespace exo::net
