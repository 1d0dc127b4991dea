// Symbolic links: names for files that lie elsewhere.
// Thread: any.
#pragma once

#include <string>

#include "base/result.h"

namespace exo::sys {

// A link at `path` that leads to `target`, in place of a link or file that is there: old or new,
// never none. Errors: kIo (file systems without links among them), kNotFound (no such folder).
Result<void> MakeLink(const std::string& target, const std::string& path);
// Where a link leads, as it is written; empty when `path` is no link.
std::string LinkTarget(const std::string& path);

}  // namespace exo::sys
