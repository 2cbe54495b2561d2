// Package config is the configuration file: one documented struct, read
// strictly, every mistake reported at once with its place and a way out.
//
// It is the only package that knows every package's options: it turns the file
// into their values. No other package ever sees the file.
package config
