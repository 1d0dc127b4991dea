// TOML, as this program reads it; what includes this is one of few files, since the library is
// large.
#pragma once

#define TOML_EXCEPTIONS 0
// The library's assertions see the file's text ("[[[" trips one); behind them it reports an error.
#define TOML_ASSERT(expr) static_assert(true)
#define TOML_ENABLE_FORMATTERS 1
#include <toml++/toml.h>
