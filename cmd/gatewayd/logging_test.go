package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"gatewayd/config"
	"gatewayd/gateway/personfile"
	"gatewayd/message"
	"gatewayd/retention"
)

// TestLoggingDescribe: every kind and field of every log is described, in German
// without an English rest, and in English.
func TestLoggingDescribe(t *testing.T) {
	used := map[string]bool{}
	words := germanWords()
	for _, d := range describeLogs(func(en string) string { used[en] = true; return en }, retention.Windows{LogMonths: 12, LegalBasis: "Spezialgesetz"}, config.Log{}, config.Syslog{To: "tls://siem:6514", Personal: []string{"by"}}) {
		if d.Log == "syslog" && (!has(d, "data.by") || has(d, "data.to") || !has(d, "data.class")) || d.Log == "audit" && !strings.HasSuffix(d.Window, "(Spezialgesetz)") || len(d.Fields) < 5 || d.Window == "" || d.Personal == "" || d.Where == "" {
			t.Errorf("%+v", d)
		}
	}
	for _, en := range append(personfile.Remarks(), personfile.ManyNames) {
		used[en] = true
	}
	for en := range used {
		if words[en] == "" {
			t.Errorf("logging.de.txt has no line for %q", en)
		}
	}
	var out strings.Builder
	if code := run([]string{"logging", "describe"}, console{&out, &out}); code != 0 {
		t.Fatalf("exit %d\n%s", code, out.String())
	}
	for _, r := range message.EventRecords() {
		if !strings.Contains(out.String(), string(r.Kind)) || !strings.Contains(out.String(), words[r.Purpose]) {
			t.Errorf("event %s is not described", r.Kind)
		}
		for _, name := range r.Fields {
			if !strings.Contains(out.String(), "data."+name+" ") {
				t.Errorf("field %s is not described", name)
			}
		}
	}
	for _, want := range []string{"genau 6 Kalendermonate", "Vernichtungsprotokolle", "PERSONENBEZOGEN", "data.to "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	describeLogs(func(en string) string { used[en] = true; return en }, retention.Windows{Profile: retention.ProfileBS}, config.Log{}, config.Syslog{})
	for en := range words {
		used[en] = used[en] || strings.Contains("window protection FIELD PERSONAL PURPOSE EVENT FIELDS yes no", en)
		if !used[en] {
			t.Errorf("logging.de.txt has a line for %q, which nobody says", en)
		}
	}
	out.Reset()
	var logs []logDescription
	if code := run([]string{"logging", "describe", "--lang", "en", "--json"}, console{&out, &out}); code != 0 || json.Unmarshal([]byte(out.String()), &logs) != nil {
		t.Fatalf("exit %d\n%s", code, out.String())
	}
	personal := map[string]bool{}
	for _, f := range logs[0].Fields {
		personal[f.Name] = f.Personal
	}
	if !personal["data.to"] || !personal["data.by"] || personal["data.class"] || len(logs[0].Kinds) != len(message.EventRecords()) {
		t.Errorf("%+v", logs[0])
	}
}

func has(d logDescription, name string) bool {
	return slices.ContainsFunc(d.Fields, func(f message.Field) bool { return f.Name == name })
}
