package api

import (
	"net/http"

	"gatewayd/audit"
)

// adminAudit serves what concerns the audit log.
func adminAudit(mux *http.ServeMux, op Operator) {
	mux.HandleFunc("POST /v1/audit/verify", func(w http.ResponseWriter, r *http.Request) {
		var report audit.Report
		err := r.ParseForm()
		marks := make([]audit.Mark, len(r.Form["mark"]))
		for i, text := range r.Form["mark"] {
			if err == nil {
				err = marks[i].UnmarshalText([]byte(text))
			}
		}
		if err == nil {
			report, err = op.VerifyAudit(r.Context(), marks)
		}
		reply(w, report, err)
	})
}
