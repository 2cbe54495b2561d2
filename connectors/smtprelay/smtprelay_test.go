package smtprelay_test

import (
	"testing"

	"gatewayd/connectors"
	"gatewayd/connectors/connectortest"
	"gatewayd/connectors/smtprelay"
	"gatewayd/message"
)

func toSmarthost(t *testing.T, link connectors.ClientOptions) connectors.Connector {
	t.Helper()
	c, err := smtprelay.New(smtprelay.Options{Link: link})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConformance(t *testing.T) {
	connectortest.Run(t, message.Normal, toSmarthost)
}
