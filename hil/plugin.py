"""The pytest plugin: fixtures for bench tests on the simulator or on a device."""
