"""What a driver may use besides the model: decoding, MQTT, serial ports, secrets."""
