// What a file is that was meant to be a model and is not a GGUF file.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace exo::model {

// A noun with its article and, where it helps, what to do; empty for a GGUF file or an unknown
// kind. `begin`: the first bytes of the file, all of a short one.
std::string DescribeForeignFile(std::span<const std::byte> begin);

}  // namespace exo::model
