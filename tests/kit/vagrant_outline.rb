# Evaluates a Vagrantfile with a recorder in Vagrant's place, and prints what it asks for as JSON: ruby THIS VAGRANTFILE
require "json"

class Recorder
  def initialize
    @seen = {}
  end
  attr_reader :seen

  def method_missing(name, *words)
    text = name.to_s
    return @seen[text.chomp("=")] = words.first if text.end_with?("=")
    return @seen[text] ||= Recorder.new if words.empty?

    (@seen[text] ||= []) << words
  end

  def respond_to_missing?(*)
    true
  end

  def provider(name)
    yield(((@seen["providers"] ||= {})[name] = Recorder.new))
  end

  def provision(name)
    yield(((@seen["provisioners"] ||= {})[name] = Recorder.new))
  end

  def define(name)
    yield(((@seen["machines"] ||= {})[name] = Recorder.new))
  end

  def to_json(*rest)
    @seen.to_json(*rest)
  end
end

module Vagrant
  def self.configure(version)
    recorder = Recorder.new
    yield recorder
    puts({ version: version, parallel: ENV["VAGRANT_NO_PARALLEL"], config: recorder }.to_json)
  end
end

load ARGV.fetch(0)
