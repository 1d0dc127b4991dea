// Who may talk to a server at all: guards against pages in the user's own browser (DNS rebinding,
// cross-site requests). Runs before any route; whose key a request has is access's business.
#pragma once

#include "service/http/exchange.h"
#include "service/http/limits.h"

namespace exo::service {

// On loopback Host must name this machine (403); by TLS any one will do, since a page that reached
// the server through DNS has no key. Every Origin must be our own page or listed (403).
Parsed<> CheckSource(const HttpRequest& request, const HttpOptions& options, uint16_t own_port);

// Whether requests of this method say what is to be done in a body.
bool HasBody(std::string_view method);

// Such a body must be application/json (415) of known length (411), and any body plain or in a
// coding that is read here (415). That type no page can send to a foreign server without asking
// first.
Parsed<> CheckBody(const HttpRequest& request);

// A page of somebody else sent the request: of a listed origin, after CheckSource.
bool IsForeign(const HttpRequest& request, const HttpOptions& options, uint16_t own_port);

// Our own page sent the request, or nobody's: only then a cookie says who asks, since browsers send
// it along with the requests of other pages of this machine, too.
// After CheckSource.
bool IsOwnPage(const HttpRequest& request, const HttpOptions& options, uint16_t own_port);

// What a browser needs to hand the answer to a page of a listed origin.
// After CheckSource; empty where no such page asks.
Headers CorsHeaders(const HttpRequest& request, const HttpOptions& options);
bool IsPreflight(const HttpRequest& request);
Headers PreflightHeaders(const HttpRequest& request, const std::string& methods);

// Whether a text is an origin as browsers write it: "https://chat.home", "http://localhost:3000",
// "app://obsidian.md". "*" and "null" are none: they would be every page.
bool IsOrigin(std::string_view text);

}  // namespace exo::service
