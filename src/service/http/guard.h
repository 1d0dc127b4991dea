// Who may talk to a server on loopback: guards against pages in the user's own browser (DNS
// rebinding, cross-site requests). Runs before any route.
#pragma once

#include "service/http/exchange.h"
#include "service/http/limits.h"

namespace exo::service {

// Host must name this machine (403), every Origin must be our own page or listed (403), and a POST
// must be plain application/json (415) of known length (411). That type no page can send to a
// foreign server without asking first.
Parsed<> CheckSource(const HttpRequest& request, const HttpOptions& options, uint16_t own_port);

}  // namespace exo::service
