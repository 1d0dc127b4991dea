// Cookies of a request (RFC 6265). What a browser sends is read as far as it makes sense: bytes of
// the network.
#pragma once

#include <string_view>
#include <vector>

#include "service/http/exchange.h"

namespace exo::service {

// The values of every cookie of this name, in the order in which they are sent; views into the
// request. More than one: cookies of several paths or domains.
std::vector<std::string_view> CookiesNamed(const HttpRequest& request, std::string_view name);

}  // namespace exo::service
