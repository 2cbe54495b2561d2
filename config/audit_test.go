package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSyslog: the collector is read with its trust and its fields; what would send
// in the clear, to nowhere, or more than is meant, is a mistake that names its key.
func TestSyslog(t *testing.T) {
	dir := folder(t)
	path := filepath.Join(dir, "gatewayd.toml")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	load := func(syslog string) (*Config, string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(string(whole)+"\n[audit]\nsyslog = { "+syslog+" }\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c, problems := Load(path, now)
		return c, strings.Join(show(problems), "\n")
	}
	c, problems := load(`to = "tls://siem.bl.example:6514", ca = "mta.crt", client_certificate = { cert = "mta.crt", key = "mta.key" }, enterprise = 4711, personal = ["by", "to"]`)
	if problems != "" {
		t.Fatal(problems)
	}
	if k := c.Collector; k.Addr != "siem.bl.example:6514" || k.TLS.ServerName != "siem.bl.example" || k.TLS.RootCAs == nil || len(k.TLS.Certificates) != 1 || k.Shown.Enterprise != 4711 || !k.Shown.Shows("by") || k.Shown.Shows("from") {
		t.Errorf("%+v", k)
	}
	for syslog, want := range map[string]string{
		`to = "tls://siem.bl.example:6514", enterprise = -1`:                "audit.syslog.enterprise: -1: write the number",
		`to = "udp://siem.bl.example:514"`:                                  "write tls://host:port",
		`to = "siem.bl.example:6514"`:                                       "write tls://host:port",
		`to = "tls://siem.bl.example"`:                                      "write tls://host:port",
		`ca = "mta.crt"`:                                                    "audit.syslog.to",
		`to = "tls://siem:6514", personal = ["by", "subject"]`:              "audit.syslog.personal[2]",
		`to = "tls://siem:6514", personal = ["class"]`:                      "no field that names persons",
		`to = "tls://siem:6514", ca = "nowhere.pem"`:                        "audit.syslog.ca",
		`to = "tls://siem:6514", client_certificate = { cert = "mta.crt" }`: "needs both",
	} {
		if _, problems := load(syslog); !strings.Contains(problems, want) {
			t.Errorf("%s: %q, want %q", syslog, problems, want)
		}
	}
}
