// A QR code as text for a terminal, two rows of modules in a line of characters.
#pragma once

#include <string>

#include "base/result.h"

namespace exo::app {

// Light on dark and dark on light terminals alike: what is light is drawn, with a quiet zone of
// four modules. Errors: kInvalid: more than a QR code holds.
Result<std::string> QrCodeText(const std::string& text);

}  // namespace exo::app
