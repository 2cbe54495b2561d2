// Package api is the door for programs. In this first part: the operator's
// socket, by which the gatewayd command talks to the running daemon. The
// socket is a file in the data folder; who may open the folder may operate.
package api
