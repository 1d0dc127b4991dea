// What the system says of a path, as an Error; for the files of this folder.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace exo::sys {

// Of errno, right after the call that failed: "cannot open PATH: No such file or directory", with
// the word that a link leads nowhere. Errors: kNotFound, kIo.
std::unexpected<Error> PathError(std::string_view doing, const std::string& path);

// "a folder", "a named pipe", ...: of a mode that is no regular file's.
std::string_view KindOf(unsigned mode);

}  // namespace exo::sys
