// Which devices computed an answer, as HTTP header fields: X-Exo-Route names them in the order of
// the model's layers ("kitchen;layers=0-3, desk;layers=4-7"), Server-Timing has their milliseconds.
#pragma once

#include <span>

#include "node/api.h"
#include "service/http/exchange.h"

namespace exo::service {

// X-Request-Id: what the call is named in the log and in the list of requests.
Headers CallHeaders(const node::Asker& asker);
// `codec`, where rows lost bits between them: X-Exo-Wire.
Headers RouteHeaders(std::span<const node::StageReport> stages, wire::Codec codec);
// Known at the end only: in a stream it is a trailer.
Headers TimingHeaders(std::span<const node::StageReport> stages);

}  // namespace exo::service
