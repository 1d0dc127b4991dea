// The trace of a request as other programs read it.
#pragma once

#include "node/request_view.h"
#include "service/json.h"

namespace exo::service::admin {

// exo's own: {"id", "model", "entry", "started", "spans": [...], "dropped"}.
Json TraceJson(const node::RequestTrace& trace);
// Chrome's trace event format, for chrome://tracing and ui.perfetto.dev: a process for each device,
// a thread for each stage.
Json ChromeTraceJson(const node::RequestTrace& trace);
// An ExportTraceServiceRequest of OpenTelemetry's OTLP/JSON: a resource for each device; the
// trace's id is the request's.
Json OtlpTraceJson(const node::RequestTrace& trace);

}  // namespace exo::service::admin
