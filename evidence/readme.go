package evidence

import (
	"fmt"
	"strings"

	"gatewayd/calendar"
)

// readmeText explains the bundle to whoever opens it in ten years.
func readmeText(r Record) string {
	text := fmt.Sprintf(`NACHWEISDOSSIER
===============

Behörde:      %s
Adressat/in:  %s
Sendung:      %s, Empfänger/in Nr. %d
Erstellt:     %s (%s)

%s

Inhalt
------
evidence.json          Alles, was das Gateway über diese Zustellung weiss, für Programme
timeline.pdf           Dasselbe als lesbarer Verlauf
receipts/              Quittungen der Zustellplattform, Oktett für Oktett wie erhalten
revocation/            Was die Aussteller beim Eintreffen über gesperrte Zertifikate sagten (falls vorhanden)
audit/                 Beweise, dass die Zeilen im Protokoll des Gateways stehen (falls der Tag abgeschlossen ist)
message.eml            Die Sendung, wie die Behörde sie übergab. Fehlt sie, wurde der Inhalt
                       fristgerecht gelöscht (Vo E-GovG BL § 11); ihr Hashwert steht in evidence.json
signature-report.json  Prüfung der Siegel auf den Quittungen beim Erstellen
MANIFEST.sha256        SHA-256 jeder Datei
gateway.p7s            Siegel über MANIFEST.sha256 (CAdES B-T, abgesetzt, mit Zeitstempel)
tst.tsr                Derselbe Zeitstempel (RFC 3161) über den Signaturwert. Fehlt er, war der
                       Zeitstempeldienst nicht erreichbar; er kann nachgeholt werden

Prüfen
------
Mit dem Programm, ohne Netz und ohne Konfiguration:
  gatewayd evidence verify --anchors CA.pem DOSSIER.zip
Von Hand, mit unzip, sha256sum und OpenSSL:
  sha256sum -c MANIFEST.sha256
  openssl cms -verify -binary -inform DER -in gateway.p7s -content MANIFEST.sha256 -CAfile CA.pem -purpose any -out /dev/null
  openssl asn1parse -inform DER -in gateway.p7s -noout -out signature.bin -strparse $(
    openssl asn1parse -inform DER -in gateway.p7s | awk -F: '/d=5 .*OCTET STRING/ {print $1+0; exit}')
  openssl ts -verify -data signature.bin -in tst.tsr -CAfile CA.pem
CA.pem enthält die Wurzelzertifikate, denen Sie vertrauen: des Siegels, des
Zeitstempeldienstes und der Zustellplattformen. Beziehen Sie sie nicht aus
diesem Dossier und nicht von dem, der es Ihnen gab.

Zeiten
------
Für Fristen zählen nur die Zeiten der Plattform auf deren Quittungen. Die Zeiten
des Gateways stehen daneben. Berechnete Daten (Zustellung, Frist) sind eine
Hilfe und nicht verbindlich.

Siegel: %s
%s
`, r.Sender.Name, r.Recipient.Address, r.Subject.Message, r.Subject.Recipient, r.Created.In(calendar.Zone()).Format("02.01.2006 15:04:05 MST"), r.Gateway.Host,
		r.Note, r.Seal.Certificate.Subject, r.Seal.Quality)
	return strings.ReplaceAll(text, "\n", "\r\n")
}
