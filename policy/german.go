package policy

import (
	"strings"

	"gatewayd/message"
)

// German says in one German sentence what a reason that holds or refuses says in
// English, for the letter to the sender. Texts of the configuration do not
// exist in German: a rule that is no built-in one is a route, and named.
func German(r message.Reason) string {
	for _, g := range german() {
		if g.rule == r.Rule && strings.Contains(r.Text, g.text) {
			return g.german
		}
	}
	if r.Rule == "" {
		return "Die Regeln des Mailsystems lassen diese Nachricht so nicht zu."
	}
	return "Die Regel «" + r.Rule + "» ist für diese Nachricht zuständig, aber keiner ihrer Wege ist zurzeit möglich."
}

// sentence is the German of one rule, or of those of its texts that contain the
// given words.
type sentence struct{ rule, text, german string }

// german lists the sentences; the first that fits counts.
func german() []sentence {
	return []sentence{
		{"mark:subject", "two different classes", "Der Betreff beginnt mit Kennzeichen zweier verschiedener Klassen: bitte nur eines stehen lassen."},
		{"mark:subject", "only at the very start", "Ein Kennzeichen gilt nur ganz am Anfang des Betreffs: bitte dorthin setzen oder entfernen."},
		{"mark:subject", "", "Der Betreff beginnt mit etwas, das einem Kennzeichen gleicht, aber keines ist: bitte das Kennzeichen genau schreiben oder entfernen (die zulässige Schreibweise steht im englischen Text)."},
		{"mark:api", "", "Die über die Schnittstelle verlangte Klasse gibt es nicht."},
		{"mark:header", "", "Das Kopffeld für die Klasse nennt eine Klasse, die es nicht gibt."},
		{"mark:sensitivity", "", "Die Vertraulichkeitsstufe der Nachricht ist keine der bekannten (Vertraulich, Privat, Persönlich): bitte neu wählen."},
		{"mark:suffix", "", "Der Zusatz an der Empfängeradresse verlangt eine bestimmte Plattform."},
		{"mark:ahv", "", "Der Betreff enthält eine AHV-Nummer, also Personendaten."},
		{"mark:all", "", "Die Kennzeichen widersprechen sich: private Post kann nicht zugleich eingeschrieben oder persönlich sein."},
		{"duty:mailbox", "", "Der Empfänger hat kein Postfach auf diesem Gateway, und es leitet für niemanden weiter."},
		{"duty:hygiene", "address", "Die Empfängeradresse beginnt mit einer Steuerzeichenfolge einer Plattform."},
		{"duty:hygiene", "", "Der Betreff enthält die Steuerzeichenfolge, die eine Nachricht an den Support eines Plattformanbieters übergibt."},
		{"duty:forwarding", "", "Das automatische Weiterleiten oder Umleiten amtlicher Post ist nicht erlaubt: bitte die Nachricht neu senden."},
		{"duty:own-private-address", "", "Amtliche Post darf nicht an die eigene private Adresse gehen; private Post wird als «Privat» gekennzeichnet."},
		{"duty:bulk", "", "Massenversand braucht die Bewilligung der zuständigen Leitung."},
		{"duty:private", "", "Private Post trägt weder amtliche Signatur noch Fusszeile."},
		{"duty:consent", "not in the directory", "Der Empfänger steht nicht im Verzeichnis: bitte Plattform und Einwilligung eintragen oder per Post zustellen."},
		{"duty:consent", "", "Der Empfänger hat in die elektronische Zustellung durch diese Behörde nicht eingewilligt: bitte die Einwilligung eintragen oder per Post zustellen."},
		{"duty:identified", "", "Der Empfänger hat kein identifiziertes Postfach: ohne Abholung ist nichts zugestellt."},
		{"duty:registered", "", "Eine eingeschriebene Verfügung geht nur über eine anerkannte Plattform, auf der der Empfänger registriert ist; keine ist zurzeit möglich."},
		{"duty:encrypt", "", "Kein Weg dieser Regel schützt den Inhalt für diesen Empfänger: Transportverschlüsselung allein genügt nicht."},
		{"routes", "", "Keine Regel nimmt Post dieser Klasse von diesem Absender an diesen Empfänger an."},
		{"gate", "consent", "Die Einwilligung des Empfängers in die elektronische Zustellung gilt nicht mehr."},
		{"gate", "not in the directory", "Der Empfänger steht nicht mehr im Verzeichnis."},
		{"gate", "damaged", "Die gespeicherte Nachricht ist beschädigt."},
		{"gate", "", "Der vorgesehene Weg ist nicht mehr zulässig: Verzeichnis, Plattform oder Kennzeichen haben sich seit dem Entscheid geändert."},
	}
}
