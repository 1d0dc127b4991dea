// Files that only their owner may read: the key and the secret.
#pragma once

#include <string>

#include "base/result.h"

namespace exo::net {

// Errors: kInvalid when group or others have any right on the file; kIo.
Result<std::string> ReadPrivateFile(const std::string& path);

}  // namespace exo::net
